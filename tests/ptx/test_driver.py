"""Whole artifacts without a GPU: the executor's own launches, interpreted."""

from __future__ import annotations

import numpy as np
import pytest

from lampq_tvm.errors import DeviceError
from lampq_tvm.ptx.driver import PtxDriver
from lampq_tvm.runtime import Runner
from tests.runtime.cuda.artifact import compiled, expected, small_artifact

ARTIFACT = small_artifact()


def driver(**options):
    return PtxDriver({kernel.cubin: kernel.ptx for kernel in compiled().values()}, "sm_87", **options)


@pytest.fixture(scope="module")
def runner() -> Runner:
    return Runner(ARTIFACT, gpu=driver())


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (7, 3, 8, 8), np.uint8)


def test_outputs_are_exact_for_every_number_of_images(runner, images):
    for count in (1, 2, 4, 5, 7):
        assert (runner(images[:count]) == expected(images[:count])["head"]).all()


def test_every_value_is_exact_although_two_share_memory(runner, images):
    found, wanted = runner.trace(images), expected(images)
    assert list(found) == list(wanted)
    for name in wanted:
        assert found[name].dtype == wanted[name].dtype and (found[name] == wanted[name]).all()


def test_float_images(runner):
    spec = ARTIFACT.manifest["input"]
    pixels = np.random.default_rng(2).integers(0, 256, (2, 3, 8, 8), np.uint8)
    mean, std = (np.array(spec[key], np.float32)[:, None, None] for key in ("mean", "std"))
    assert (runner((pixels / np.float32(255) - mean) / std) == runner(pixels)).all()


def test_what_is_not_at_hand_is_named():
    with pytest.raises(DeviceError, match="PTX is not at hand"):
        Runner(ARTIFACT, gpu=PtxDriver({}, "sm_87"))
    with pytest.raises(DeviceError, match="kernel head is not there, or asks for more than 4096 bytes"):
        Runner(ARTIFACT, gpu=driver(shared_bytes=4096))
