"""Images in, outputs out: batches, wrong images, wrong machines."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lampq_tvm.artifact.container import Artifact, write_artifact
from lampq_tvm.errors import CorruptError, UnsupportedError, UsageError
from lampq_tvm.runtime import Runner, load
from tests.boards import runs_here, target_of
from tests.compiler.networks import artifact, images, quantized

HOST = next((isa for isa in ("vbmi", "vnni", "avx2") if runs_here(isa)), None)
pytestmark = pytest.mark.skipif(HOST is None, reason="no x86 level to run here")


@pytest.fixture(scope="module")
def compiled() -> Artifact:
    return artifact(quantized("one block", "4/4"), target_of(HOST), 3)


@pytest.fixture(scope="module")
def runner(compiled) -> Runner:
    return Runner(compiled)


def test_the_output_does_not_depend_on_the_batch(runner):
    pixels = images("one block", 7)
    whole = runner(pixels)
    assert whole.shape == (7, 5)
    assert (np.concatenate([runner(pixels[i : i + 1]) for i in range(7)]) == whole).all()


def test_from_a_file(compiled, runner, tmp_path):
    pixels, path = images("one block", 2), tmp_path / "model.lampq"
    manifest = {k: v for k, v in compiled.manifest.items() if k not in ("schema", "sections")}
    write_artifact(path, compiled.sections, manifest)
    assert (load(path)(pixels) == runner(pixels)).all()


@pytest.mark.parametrize("shape", [(3, 20, 20), (1, 3, 20, 24), (1, 1, 20, 20)])
def test_images_of_another_shape_are_refused(runner, shape):
    with pytest.raises(UsageError, match="images are"):
        runner(np.zeros(shape, np.uint8))


def test_images_of_another_type_are_refused(runner):
    with pytest.raises(UsageError, match="float64"):
        runner(np.zeros((1, 3, 20, 20)))


def test_code_for_another_machine_is_refused(compiled):
    other = dataclasses.replace(compiled, manifest=compiled.manifest | {"arch": "aarch64"})
    with pytest.raises(UnsupportedError, match="aarch64"):
        Runner(other)
    missing = dataclasses.replace(compiled, manifest=compiled.manifest | {"features": ["avx9"]})
    with pytest.raises(UnsupportedError, match="avx9"):
        Runner(missing)


def test_a_payload_that_does_not_fit_is_refused(compiled):
    empty = dataclasses.replace(compiled, sections=compiled.sections | {"payload.safetensors": b"{}"})
    with pytest.raises(CorruptError, match="payload"):
        Runner(empty)


def test_float_images_that_are_no_normalized_pixels_are_told_once(compiled, capsys):
    runner, pixels = Runner(compiled), images("one block", 3)
    mean, std = (np.array(runner.manifest["input"][k], np.float32)[:, None, None] for k in ("mean", "std"))
    right = ((pixels / np.float32(255) - mean) / std).astype(np.float32)
    assert (runner(right) == runner(pixels)).all()
    assert capsys.readouterr().err == ""
    for _ in range(2):
        runner(pixels.astype(np.float32))
    assert capsys.readouterr().err.count("warning: ") == 1
