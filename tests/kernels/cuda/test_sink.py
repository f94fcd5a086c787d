"""A table that decodes codes stands behind every producer of them on a GPU: interpreted PTX against the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from lampq_tvm.kernels.cuda import heads as head_kernels
from lampq_tvm.kernels.cuda import tokens
from lampq_tvm.kernels.cuda.attention import build_attention
from lampq_tvm.kernels.cuda.attention_half import build_half_attention
from lampq_tvm.kernels.cuda.attention_shape import CudaAttentionShape
from lampq_tvm.kernels.cuda.levels import attention_mma, half_mma, mma_for
from lampq_tvm.kernels.cuda.norm import build_norm
from lampq_tvm.kernels.cuda.pool import PoolShape, build_pool
from lampq_tvm.kernels.cuda.product import build_product, weight_words
from lampq_tvm.kernels.cuda.tiles import default_tiles
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kinds import Kind
from lampq_tvm.oracle import ops
from lampq_tvm.quantizers.carried import carried
from lampq_tvm.quantizers.protocol import find
from lampq_tvm.runtime.words import pack_words
from tests.kernels import data
from tests.kernels.cuda.gpu import pack_halves, pack_rows, run, unpack_rows
from tests.kernels.test_attention import softmax
from tests.quantizers import tabled  # noqa: F401 (registers its quantizers)

ARCHS = ("sm_72", "sm_87", "sm_90")
TABLE = carried(find("squares", "activations").candidates(-3.0, 5.0, 4)[0]).tensors["table"]


def check(kernel, arch: str, buffers: dict[str, np.ndarray], codes: np.ndarray, name: str = "table") -> None:
    """The kernel's output are the table's entries for the oracle's codes [rows, channels]."""
    found = run(kernel, arch, buffers | {name: TABLE}, np.zeros_like(pack_rows(codes, 8)))
    assert len(np.unique(codes)) > 20
    assert unpack_rows(found, codes.shape[1], 8).tobytes() == ops.apply_table(codes, TABLE).tobytes()


@pytest.mark.parametrize("arch", ARCHS)
def test_layernorm(arch):
    rng = np.random.default_rng(0)
    stream, G, B = (rng.normal(0, s, n).astype(np.float32) for s, n in ((3, (5, 100)), (40, 100), (5, 100)))
    codes = ops.layer_norm_codes(stream, G, B, 1e-6, 8)
    kernel = build_norm(5, 100, 1e-6, out=Kind.INT8, table=True)
    check(kernel, arch, {"stream": stream, "G": G, "B": B}, codes)


@pytest.mark.parametrize("arch", ARCHS)
def test_floats_and_gates(arch):
    rng = np.random.default_rng(1)
    x, affine = rng.normal(0, 3, (5, 37)).astype(np.float32), np.array([20.7, -1], np.float32)
    kernel = tokens.build_to_codes(5, 37, Kind.INT8, table=True)
    check(kernel, arch, {"x": x, "affine": affine}, ops.to_codes(x, affine, 8))
    g, table = rng.normal(0, 60, (5, 37)).astype(np.float32), rng.normal(0, 2, 256).astype(np.float32)
    kernel = tokens.build_gate(tokens.GateShape(5, 37, 37, 0, 0, 37, Kind.INT8, table=True))
    buffers = {"g": g, "x": x, "table": table, "affine": affine}
    check(kernel, arch, buffers, ops.to_codes(ops.gate(g, x, table), affine, 8), "code_table")


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("half", [False, True])
def test_attention(arch, half):
    rng, (tokens_, heads, dim) = np.random.default_rng(2), (21, 2, 16)
    channels, shape = heads * dim, CudaAttentionShape(1, 21, 2, 16)
    M, B = (rng.uniform(low, high, channels).astype(np.float32) for low, high in ((0.4, 0.9), (-5, 5)))
    if half:
        qkv, S = rng.normal(0, 1, (tokens_, 3 * channels)).astype(np.float16), np.full(heads, 0.3, np.float32)
        M *= 60
        exact = ops.half_attention(qkv[None], S, M, B, heads, dim, 8)[0]
        kernel = build_half_attention(shape, half_mma(arch), out=Kind.INT8, table=True)
        buffers = {"qkv": pack_halves(qkv), "S": S, "M": M, "B": B, "table": TABLE}
        found = unpack_rows(run(kernel, arch, buffers, np.zeros_like(pack_rows(exact, 8))), channels, 8)
        near = [ops.apply_table(np.clip(exact.astype(int) + i, -128, 127).astype(np.int8), TABLE) for i in (-1, 0, 1)]
        assert np.any([found == each for each in near], 0).all() and (found == near[1]).mean() > 0.9
        return
    qkv = data.codes(rng, tokens_, 3 * channels, 8)
    qkv[:, 2 * channels :] = rng.integers(-128, 128, (tokens_, channels))
    S, P = np.full(heads, 255 / (dim * 4.0**7), np.float32), softmax("uniform", 8, rng)
    kernel = build_attention(shape, attention_mma(arch), out=Kind.INT8, table=True)
    buffers = {"qkv": pack_rows(qkv, 8), "S": S, "P": P, "M": M, "B": B}
    check(kernel, arch, buffers, ops.attention(qkv[None], S, P, M, B, heads, dim, 8)[0])


@pytest.mark.parametrize("arch", ARCHS)
def test_constant_queries(arch):
    rng, shape = np.random.default_rng(3), PoolShape(2, 9, 3, 2, 20)
    channels = shape.heads * shape.head_dim
    kv = rng.integers(-128, 128, (shape.images * shape.tokens, 2 * channels)).astype(np.int8)
    query = rng.integers(-128, 128, (shape.heads, shape.queries, shape.head_dim)).astype(np.int8)
    S, P = np.full(shape.heads, 255 / (shape.head_dim * 4.0**7), np.float32), softmax("uniform", 8, rng)
    M, B = np.full(channels, 1.5, np.float32), np.zeros(channels, np.float32)
    codes = ops.attention_pool(kv.reshape(shape.images, shape.tokens, -1), query, S, P, M, B, 8).reshape(-1, channels)
    buffers = {"kv": pack_rows(kv, 8), "query": query, "S": S, "P": P, "M": M, "B": B}
    check(build_pool(shape, out=Kind.INT8, table=True), arch, buffers, codes)


@pytest.mark.parametrize("arch", ARCHS)
def test_heads(arch):
    """Turned, and over their lengths."""
    rng, (count, head_count, dim) = np.random.default_rng(6), (9, 3, 12)
    qkv, inv = rng.normal(0, 2, (count, 3 * head_count * dim)).astype(np.float32), np.full((3, head_count), 20, np.float32)
    cos, sin = (rng.uniform(-1, 1, (count, dim)).astype(np.float32) for _ in range(2))
    partner = rng.permutation(dim).astype(np.int32)
    kernel = head_kernels.build_rotary(count, count, head_count, dim, Kind.INT8, table=True)
    buffers = {"qkv": qkv, "cos": cos, "sin": sin, "partner": partner, "inv": inv}
    check(kernel, arch, buffers, ops.rotary(qkv[None], cos, sin, partner, inv, 8)[0])
    kernel = head_kernels.build_unit_heads(count, head_count, dim, 1e-12, Kind.INT8, table=True)
    check(kernel, arch, {"qkv": qkv, "inv": inv}, ops.unit_heads(qkv[None], inv, head_count, 1e-12, 8)[0])


@pytest.mark.parametrize("arch", ARCHS)
def test_products_and_functions_of_float16_layers(arch):
    rng, sizes = np.random.default_rng(4), (37, 45, 64)
    shape, mma = ProductShape(*sizes, "table"), mma_for(8, 8, arch)
    a, w = data.codes(rng, sizes[0], sizes[2], 8), data.codes(rng, sizes[1], sizes[2], 7)
    acc = ops.product_acc(a, w)
    M, B = data.requantizer(rng, acc)
    words = pack_words(w, mma.name, weight_words(shape, mma, default_tiles(shape, mma)))
    check(build_product(shape, mma), arch, {"A": pack_rows(a, 8), "W": words, "S": M, "B": B}, ops.requantize(acc, M, B, 8))

    shape, mma = ProductShape(*sizes, "act"), mma_for(Kind.FLOAT16, Kind.FLOAT16, arch)
    a, w = (rng.normal(0, s, n).astype(np.float16) for s, n in ((1, (37, 64)), (0.2, (45, 64))))
    S, B = np.ones(45, np.float32), rng.normal(0, 1, 45).astype(np.float32)
    affine = np.array([20, 3], np.float32)
    words = pack_words(w, "f16", weight_words(shape, mma, default_tiles(shape, mma)))
    buffers = {"A": pack_halves(a), "W": words, "S": S, "B": B, "affine": affine, "table": TABLE}
    exact = ops.activated(ops.half_sums(a, w), S, B, "relu", affine, 8)
    kernel = build_product(shape, mma, table=True, act="relu")
    found = unpack_rows(run(kernel, arch, buffers, np.zeros_like(pack_rows(exact, 8))), 45, 8)
    assert (found == ops.apply_table(exact, TABLE)).mean() > 0.99  # sums of float16 values have no fixed order


@pytest.mark.parametrize("arch", ARCHS)
def test_planes(arch):
    wide = carried(find("powers", "activations").candidates(0.0, 5.0, 4)[0])
    codes = wide.tensors["table"][np.random.default_rng(5).integers(0, 256, (7, 37))]
    for table in wide.planes:
        out = np.zeros_like(pack_rows(codes, 8))
        found = run(tokens.build_look_up(7, 37), arch, {"x": pack_rows(codes, 8), "table": table}, out)
        assert unpack_rows(found, 37, 8).tobytes() == ops.apply_table(codes, table).tobytes()
