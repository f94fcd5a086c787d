"""Patches, prefix tokens, pooling and sums against the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from lampq_tvm.kernels.cuda import tokens
from lampq_tvm.kinds import of_width
from lampq_tvm.oracle import ops
from tests.kernels.cuda.gpu import run, unpack_rows
from tests.kernels.data import code_range

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(0, 1, shape).astype(np.float32)


@pytest.mark.parametrize(("channels", "side", "patch"), [(3, 32, 16), (1, 28, 4), (3, 28, 14), (2, 9, 3), (1, 5, 5)])
def test_patches(channels, side, patch):
    image = RNG.integers(0, 256, (2, channels, side, side)).astype(np.uint8)
    wanted = ops.patches(ops.pixel_codes(image), patch)
    wanted = wanted.reshape(-1, wanted.shape[2])
    out = np.zeros((len(wanted), -(-wanted.shape[1] // 16) * 16), np.uint8)
    found = run(tokens.build_patches(2, channels, side, side, patch), "sm_87", {"image": image}, out)
    assert (unpack_rows(found, wanted.shape[1], 8) == wanted).all()


def test_prefix_leaves_the_other_rows():
    prefix, stream = floats(2, 30), floats(3, 7, 30)
    wanted = stream.copy()
    wanted[:, :2] = prefix
    assert run(tokens.build_prefix(3, 2, 7, 30), "sm_87", {"prefix": prefix}, stream).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("bits", [8, 4, 16])
def test_codes_of_floats(bits):
    x, affine = floats(5, 37), np.array([3.7, -1.25], np.float32)
    out = np.zeros((5, -(-37 * bits // 128) * 16), np.uint8)
    buffers = {"x": x, "affine": affine, "range": code_range(bits)}
    found = run(tokens.build_to_codes(5, 37, of_width(bits)), "sm_87", buffers, out)
    wanted = ops.to_codes(x, affine, of_width(bits))
    codes = found.view(np.float16)[:, :37] if bits == 16 else unpack_rows(found, 37, bits)
    assert codes.dtype == wanted.dtype and (codes == wanted).all()


def test_pooling_and_sums():
    x, inv = floats(3, 50, 36), np.array([1 / 49], np.float32)
    rows, out = {"x": x, "inv": inv}, np.zeros((3, 36), np.float32)
    found = run(tokens.build_mean(3, 50, 1, 36), "sm_87", rows, out)
    assert found.tobytes() == ops.mean_tokens(x, 1, inv).tobytes()
    assert run(tokens.build_take(3, 50, 4, 36), "sm_87", rows, out).tobytes() == ops.take_token(x, 4).tobytes()
    pair = {"a": x[:, 0], "b": x[:, 1]}
    assert run(tokens.build_sum(3, 36, False), "sm_87", pair, out).tobytes() == ops.add(**pair).tobytes()
    assert run(tokens.build_sum(3, 36, True), "sm_87", pair, out).tobytes() == ops.average_heads(**pair).tobytes()
