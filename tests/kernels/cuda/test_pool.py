"""Attention of constant queries against the oracle: codes exactly, float16 values within their bounds (test_half.py)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lampq_tvm.kernels.cuda.pool import PoolShape, build_pool
from lampq_tvm.kinds import of_width
from lampq_tvm.oracle import ops
from tests.kernels import data
from tests.kernels.cuda.gpu import pack_rows, run, unpack_rows
from tests.kernels.cuda.test_half import pack_halves

ARCHS = ("sm_72", "sm_75", "sm_87", "sm_90")
SHAPES = (
    PoolShape(1, 196, 3, 1, 64),
    PoolShape(2, 50, 2, 3, 32),
    PoolShape(3, 1, 1, 1, 4),
    PoolShape(1, 129, 5, 2, 12),
    PoolShape(1, 7, 1, 1, 256),
)


def constants(rng: np.random.Generator, shape: PoolShape) -> dict[str, np.ndarray]:
    """Scales at which scores spread over the softmax's table, and a table from 255 to 0."""
    channels = shape.heads * shape.head_dim
    P = np.sort(rng.integers(0, 256, 256).astype(np.uint8))[::-1].copy()
    P[0], P[255] = 255, 0
    S = (255 / (shape.head_dim * 128 * 128) * rng.uniform(0.5, 3, shape.heads)).astype(np.float32)
    M, B = (rng.uniform(low, high, channels).astype(np.float32) for low, high in ((0.5, 2), (-6, 6)))
    return {"S": S, "P": P, "M": M, "B": B}


@pytest.mark.parametrize(("shape", "out_bits"), [*itertools.product(SHAPES, (8, 4))])
def test_codes_are_the_oracles(shape, out_bits):
    rng = np.random.default_rng(shape.tokens + out_bits)
    channels, arch = shape.heads * shape.head_dim, ARCHS[(shape.tokens + out_bits) % len(ARCHS)]
    kv = data.codes(rng, shape.images * shape.tokens, 2 * channels, 8)
    query = data.codes(rng, shape.heads * shape.queries, shape.head_dim, 8).reshape(shape.heads, shape.queries, -1)
    c = constants(rng, shape)
    buffers = {"kv": pack_rows(kv, 8), "query": query, "range": data.code_range(out_bits), **c}
    out = np.full((shape.images * shape.queries, -(-channels * out_bits // 128) * 16), 0x55, np.uint8)
    found = run(build_pool(shape, out=of_width(out_bits)), arch, buffers, out)
    rows = kv.reshape(shape.images, shape.tokens, -1)
    wanted = ops.attention_pool(rows, query, c["S"], c["P"], c["M"], c["B"], out_bits)
    assert len(np.unique(wanted)) > 2 or wanted.size < 16
    assert (unpack_rows(found, channels, out_bits) == wanted.reshape(len(found), channels)).all()


@pytest.mark.parametrize(("shape", "out_bits"), [*itertools.product(SHAPES, (16, 8))])
def test_float16_values_are_the_oracles(shape, out_bits):
    """A mean of values v moves by at most (2^-10 + 2^-19) max |v| (test_half.py); a code by one more than that."""
    rng = np.random.default_rng(shape.tokens + out_bits)
    channels, arch = shape.heads * shape.head_dim, ("sm_53", *ARCHS)[shape.tokens % 5]
    kv = rng.normal(0, 1, (shape.images * shape.tokens, 2 * channels)).astype(np.float16)
    query = rng.normal(0, 1, (shape.heads, shape.queries, shape.head_dim)).astype(np.float16)
    c = constants(rng, shape) | {"S": np.full(shape.heads, 1.44 * shape.head_dim**-0.5, np.float32)}
    buffers = {"kv": pack_halves(kv), "query": query, "range": data.code_range(8), **c}
    out = np.full((shape.images * shape.queries, -(-channels * out_bits // 128) * 16), 0xFF, np.uint8)
    found = run(build_pool(shape, half=True, out=of_width(out_bits)), arch, buffers, out)
    rows = kv.reshape(shape.images, shape.tokens, -1)
    wanted = ops.attention_pool(rows, query, c["S"], None, c["M"], c["B"], of_width(out_bits)).reshape(len(found), channels)
    moved = (2.0**-10 + 2.0**-19) * np.abs(rows.astype(float)).max() * c["M"]
    if out_bits == 16:
        values = found.view(np.float16)
        assert np.isfinite(values).all()
        assert (np.abs(values[:, :channels] - wanted.astype(float)) <= moved + 2.0**-10 * np.abs(wanted.astype(float))).all()
    else:
        assert (np.abs(unpack_rows(found, channels, 8) - wanted.astype(int)) <= np.ceil(moved)).all()
