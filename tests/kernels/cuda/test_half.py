"""Kernels of float16 values against the oracle's float64 sums, within what float32 sums and roundings to float16 may differ.

Bounds. A sum of K products in float32, in any order, misses the exact one by at most K u sum |a w| (u = 2^-24; Higham,
"Accuracy and Stability of Numerical Algorithms", 3.1). A float16 output is that sum, rounded: half a step away at most. A code
differs by one where the value lies that near to a tie. Weights of a softmax carry 2^-22 of their exponential and 2^-11 of its
rounding, both relative, and their sum divides them, so a mean of values moves by at most (2^-10 + 2^-19) max |v|.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lampq_tvm.kernels.cuda.attention_half import build_half_attention
from lampq_tvm.kernels.cuda.attention_shape import CudaAttentionShape
from lampq_tvm.kernels.cuda.levels import half_mma, mma_for
from lampq_tvm.kernels.cuda.norm import build_norm
from lampq_tvm.kernels.cuda.product import build_product, weight_words
from lampq_tvm.kernels.cuda.tiles import CudaTiles, default_tiles
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kinds import Kind, of_width
from lampq_tvm.oracle import ops
from lampq_tvm.quantize.constants import UNARY
from lampq_tvm.runtime.words import pack_words
from tests.examples import examples
from tests.kernels import data
from tests.kernels.cuda.gpu import pack_halves, pack_rows, run, unpack_rows
from tests.kernels.cuda.test_attention import biased

ARCHS = ("sm_75", "sm_87", "sm_90")
PLAIN = ("sm_53", "sm_72")  # without `mma.sync` for this: large kernels for the interpreter, so few and small cases
TILES = (CudaTiles(16, 64, 8, 2, 1, 2), CudaTiles(32, 32, 24, 4, 1, 1), CudaTiles(64, 128, 32, 2, 4, 1))
EPILOGUES = ("codes", "half", "table", "float", "residual", "stream", "act")
EPS = 1e-6
FEW = examples(20)


def check_product(shape: ProductShape, kind: str, arch: str, *, act="gelu", normed=False, to_half=True, tiles=None, seed=0):
    """A product's output lies within the bounds above."""
    rng, mma = np.random.default_rng(seed), mma_for(Kind.FLOAT16, Kind.FLOAT16, arch)
    tiles = tiles or default_tiles(shape, mma)
    a = rng.normal(0, 1, (shape.rows, shape.k)).astype(np.float16)
    w = rng.normal(0, 0.3, (shape.n, shape.k)).astype(np.float16)
    S, B = (rng.uniform(0.5, 2, shape.n) / np.sqrt(shape.k)).astype(np.float32), rng.normal(0, 1, shape.n).astype(np.float32)
    buffers = {"A": pack_halves(a), "W": pack_words(w, "f16", weight_words(shape, mma, tiles)), "S": S, "B": B}
    if normed:
        stream = rng.normal(0, 2, a.shape).astype(np.float32)
        G, N = (rng.normal(0, scale, shape.k).astype(np.float32) for scale in (1, 0.2))
        buffers |= {"stream": stream, "G": G, "N": N}
        a = ops.layer_norm_codes(stream, G, N, EPS, Kind.FLOAT16)
    acc, spread = ops.half_sums(a, w), np.abs(a.astype(float)) @ np.abs(w.astype(float)).T
    slack = shape.k * 2.0**-24 * spread * S + 2.0**-22 * (np.abs(acc * S) + np.abs(B))
    exact = acc.astype(np.float64) * S + B
    bits, affine = (16 if to_half else 8), np.array([20, 3], np.float32)
    if kind in ("codes", "half"):
        S, B = (S, B) if to_half else (S * 30, B * 30)
        slack, exact, buffers["S"], buffers["B"] = (slack, exact, S, B) if to_half else (slack * 30, exact * 30, S, B)
    elif kind == "act":
        exact = np.vectorize(UNARY[act])(exact)
        slack = 1.2 * slack + 2.0**-21 * (np.abs(exact) + 1e-3)
        exact, slack = (exact, slack) if to_half else (exact * 20 + 3, slack * 20)
        buffers["affine"] = affine
    coded = kind in ("codes", "half", "table", "act")
    buffers |= {"range": data.code_range(8)}
    if kind == "table":
        buffers["S"], buffers["B"] = S * 30, B * 30
        values = rng.normal(0, 1, 256).astype(np.float16)
        table = values.view(np.uint16) if to_half else rng.integers(-128, 128, 256).astype(np.int8)
        buffers["table"] = table
    before = rng.normal(0, 3, (shape.rows, shape.n)).astype(np.float32)
    pos = rng.normal(0, 3, (max(1, shape.period), shape.n)).astype(np.float32)
    buffers["pos"] = pos
    out = pack_halves(np.zeros_like(before)) if to_half else pack_rows(np.zeros(before.shape, np.int8), 8)
    start = out if coded else before if kind == "residual" else np.zeros_like(before)
    real = ProductShape(shape.rows, shape.n, shape.k, "codes" if kind == "half" else kind, shape.period)
    kernel = build_product(
        real, mma, out=of_width(bits if coded else 8), tiles=tiles, norm_eps=EPS if normed else None, act=act
    )
    found = run(kernel, arch, buffers, start)
    if not coded:
        added = {"residual": before, "stream": np.tile(pos, (shape.rows // max(1, shape.period), 1))}.get(kind, 0)
        wanted = exact + added
        assert (np.abs(found - wanted) <= slack + 2.0**-23 * (np.abs(wanted) + np.abs(added))).all()
    elif kind == "table":
        index = np.clip(np.rint(exact * 30), -128, 127).astype(int) + 128
        got = found[:, : shape.n].view(np.uint16) if to_half else unpack_rows(found, shape.n, 8)
        sure = np.abs(np.abs(exact * 30 - np.floor(exact * 30)) - 0.5) > 30 * slack
        assert (got == table[index])[sure].all() and sure.mean() > 0.95
    elif to_half:
        assert np.isfinite(found).all()  # what fills the rows up, too
        wanted = np.clip(exact, -65504, 65504).astype(np.float16)
        step = np.spacing(np.maximum(np.abs(wanted), np.float16(2.0**-14))).astype(float)
        assert (np.abs(found[:, : shape.n].astype(float) - exact) <= slack + 0.5 * step).all()
    else:
        clipped = np.clip(exact, -128, 127)
        assert (np.abs(unpack_rows(found, shape.n, 8) - clipped) <= 0.5 + slack + 1e-5).all()


extents = st.integers(1, 70)


@FEW
@given(
    sizes=st.tuples(extents, extents, st.integers(1, 140)),
    kind=st.sampled_from(EPILOGUES),
    act=st.sampled_from(tuple(UNARY)),
    arch=st.sampled_from(ARCHS),
    normed=st.booleans(),
    to_half=st.booleans(),
    tiles=st.none() | st.sampled_from(TILES),
    seed=st.integers(0, 99),
)
def test_any_product(sizes, kind, act, arch, normed, to_half, tiles, seed):
    rows, n, k = sizes
    period = rows if kind == "stream" else 0
    shape = ProductShape(2 * rows if period else rows, n, k, kind, period)
    check_product(shape, kind, arch, act=act, normed=normed, to_half=to_half or kind == "half", tiles=tiles, seed=seed)


@pytest.mark.parametrize("arch", PLAIN)
def test_plain_multiply_adds(arch):
    check_product(ProductShape(18, 11, 41, "half"), "half", arch, normed=True, tiles=CudaTiles(16, 16, 16, 2, 1, 1))
    check_product(ProductShape(5, 17, 20, "residual"), "residual", arch, tiles=CudaTiles(16, 16, 8, 2, 1, 1))
    check_attention(CudaAttentionShape(1, 18, 1, 12, 1), arch, 16)
    check_attention(CudaAttentionShape(2, 18, 1, 4, 1, groups=2, patterns=2), arch, 16)


@pytest.mark.parametrize("arch", ARCHS)
def test_edges_of_rows_columns_and_steps(arch):
    sizes = [(1, 1, 1), (63, 65, 33), (65, 63, 31), (17, 9, 129), (2, 100, 15)]
    for (m, n, k), kind in zip(sizes, itertools.cycle(("half", "residual", "act")), strict=False):
        check_product(ProductShape(m, n, k, kind), kind, arch, normed=m > 17)


@pytest.mark.parametrize(("rows", "channels"), [(1, 1), (5, 31), (7, 33), (9, 192)])
def test_norm_to_float16(rows, channels):
    """LayerNorm is exact, and so is its rounding."""
    rng = np.random.default_rng(rows)
    stream, G, B = (rng.normal(0, 40, shape).astype(np.float32) for shape in ((rows, channels), channels, channels))
    wanted = ops.layer_norm_codes(stream, G, B, EPS, Kind.FLOAT16)
    buffers = {"stream": stream, "G": G, "B": B}
    for arch in ("sm_53", "sm_87"):
        found = run(build_norm(rows, channels, EPS, out=Kind.FLOAT16), arch, buffers, pack_halves(wanted * np.float16(0)))
        assert found[:, :channels].tobytes() == wanted.tobytes() and np.isfinite(found).all()


def check_attention(
    shape: CudaAttentionShape, arch: str, out_bits: int, seed: int = 0, spread: float = 1.0, masked: float = 0.1
):
    """Every value within the bound above of the oracle's weighted mean; a bias of the scores adds one rounding of theirs."""
    rng, rows, channels = np.random.default_rng(seed), shape.images * shape.tokens, shape.heads * shape.head_dim
    qkv = rng.normal(0, spread, (rows, 3 * channels)).astype(np.float16)
    S = (rng.uniform(0.5, 2, shape.heads) * 1.4427 / np.sqrt(shape.head_dim)).astype(np.float32)
    M = np.full(channels, 1 if out_bits == 16 else 20, np.float32)
    B = np.zeros(channels, np.float32) if out_bits == 16 else rng.integers(-5, 5, channels).astype(np.float32)
    q, k, v = qkv.reshape(shape.images, shape.tokens, 3, shape.heads, -1).transpose(2, 0, 3, 1, 4).astype(np.float64)
    bias, buffers = None, {}
    if shape.groups:
        every = rng.normal(0, 3, (shape.patterns, shape.heads, shape.tokens, shape.tokens)).astype(np.float32)
        bias, buffers = biased(shape, every, rng, masked)
    exact = ops.mixed_values(q, k, v, S, bias).transpose(0, 2, 1, 3).reshape(rows, channels) * M + B
    score = np.abs(q) @ np.abs(k).swapaxes(-1, -2) * S[:, None, None].astype(float)
    each = 2.0**-10 + 2.0**-19 + (shape.head_dim + shape.tokens + 4) * 2.0**-23 * (1 + float(score.max()))
    slack = each * float(np.abs(v).max()) * M
    buffers |= {"qkv": pack_halves(qkv), "S": S, "M": M, "B": B, "range": data.code_range(8)}
    out = pack_halves(np.zeros((rows, channels))) if out_bits == 16 else pack_rows(np.zeros((rows, channels), np.int8), 8)
    found = run(build_half_attention(shape, half_mma(arch), out=of_width(out_bits)), arch, buffers, out)
    if out_bits == 16:
        assert np.isfinite(found).all()
        got, step = found[:, :channels].astype(float), 2.0**-11 * np.abs(exact) + 2.0**-25
    else:
        got, step, exact = unpack_rows(found, channels, 8).astype(float), 0.5, np.clip(exact, -128, 127)
    assert (np.abs(got - exact) <= slack + step).all(), float((np.abs(got - exact) / (slack + step)).max())


@FEW
@given(
    sizes=st.tuples(st.integers(1, 2), st.integers(1, 140), st.integers(1, 3), st.sampled_from((4, 8, 12, 16, 32, 40, 64, 72))),
    arch=st.sampled_from(ARCHS),
    out_bits=st.sampled_from((8, 16)),
    warps=st.sampled_from((1, 2, 4)),
    seed=st.integers(0, 99),
    spread=st.sampled_from((0.3, 1.0, 4.0)),
)
def test_any_attention(sizes, arch, out_bits, warps, seed, spread):
    check_attention(CudaAttentionShape(*sizes, warps), arch, out_bits, seed, spread)


@FEW
@given(
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 80), st.integers(1, 3), st.sampled_from((4, 12, 32, 40))),
    arch=st.sampled_from(ARCHS),
    out_bits=st.sampled_from((8, 16)),
    warps=st.sampled_from((1, 2, 4)),
    groups=st.integers(1, 4),
    patterns=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_any_bias_of_the_scores(sizes, arch, out_bits, warps, groups, patterns, seed):
    check_attention(CudaAttentionShape(*sizes, warps, 1, groups, patterns), arch, out_bits, seed)


@pytest.mark.parametrize("arch", ARCHS)
def test_windows_and_one_large_bias(arch):
    """Swin's windows of 49 tokens, some of which share a pattern; BEiT's 197 tokens at once."""
    check_attention(CudaAttentionShape(6, 49, 2, 32, groups=3, patterns=2), arch, 16)
    check_attention(CudaAttentionShape(1, 197, 1, 64, groups=1, patterns=1), arch, 16)


def test_rows_that_begin_with_masked_tokens():
    """The peak of some chunks is a masked score; nothing of theirs is left once a token counts."""
    check_attention(CudaAttentionShape(2, 150, 2, 16, groups=2, patterns=2), "sm_87", 16, masked=1.0)
    check_attention(CudaAttentionShape(1, 197, 1, 32, groups=1, patterns=1), "sm_87", 8, masked=0.98)


def test_attention_of_deit():
    check_attention(CudaAttentionShape(1, 197, 3, 64), "sm_87", 16)
