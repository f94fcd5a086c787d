"""What a CUDA kernel is judged by: its buffers as they lie in device memory, and the bytes that the oracle expects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lampq_tvm.kernels.cuda.attention_shape import GROUP, CudaAttentionShape
from lampq_tvm.kernels.cuda.mma import Mma
from lampq_tvm.kernels.cuda.operand import row_words
from lampq_tvm.kernels.cuda.product import weight_words
from lampq_tvm.kernels.cuda.tiles import CudaTiles
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.oracle import ops
from lampq_tvm.quantizers.symmetric import weight_range
from lampq_tvm.runtime.words import pack_words

EPS = 1e-6
CODES = np.array([-128, 127], np.float32)


@dataclass(frozen=True)
class CudaCase:
    """Buffers by name, as they are before; the first `used` bytes of each row of the one `of` must become `expected`."""

    buffers: dict[str, np.ndarray]
    expected: np.ndarray
    of: str = "out"

    @property
    def used(self) -> int:
        """Bytes of a row that are compared."""
        return int(self.expected.shape[1])


def product_case(
    shape: ProductShape, w_bits: int, a_bits: int, mma: Mma, tiles: CudaTiles, *, normed: bool = False, seed: int = 0
) -> CudaCase:
    """Random codes of the widths, the first rows at their extremes; `normed`: they are the LayerNorm of a stream."""
    rng, half = np.random.default_rng(seed), 1 << (a_bits - 1)
    w = _codes(rng, shape.n, shape.k, *weight_range(w_bits))
    buffers = {"W": pack_words(w, mma.name, weight_words(shape, mma, tiles))}
    if normed:
        stream = rng.normal(0, 2, (shape.rows, shape.k)).astype(np.float32)
        G, N = (rng.normal(0, scale, shape.k).astype(np.float32) for scale in (half / 2, 1))
        a = ops.layer_norm_codes(stream, G, N, EPS, a_bits)
        buffers |= {"stream": stream, "G": G, "N": N, "bounds": np.array([-half, half - 1], np.float32)}
    else:
        a = _codes(rng, shape.rows, shape.k, -half, half - 1)
        buffers["A"] = packed_rows(a, mma.a_bits)
    acc = ops.product_acc(a, w)
    scale = (40 / np.maximum(acc.std(0), 1) * rng.uniform(0.5, 1.5, shape.n)).astype(np.float32)
    offset = rng.normal(0, 20, shape.n).astype(np.float32)
    table = rng.integers(-128, 128, 256).astype(np.int8)
    pos = rng.normal(0, 30, (max(shape.period, 1), shape.n)).astype(np.float32)
    before = np.zeros(acc.shape, np.float32)
    wanted: np.ndarray
    if shape.epilogue == "codes":
        wanted = ops.requantize(acc, scale, offset, 8)
    elif shape.epilogue == "table":
        wanted = ops.apply_table(ops.requantize(acc, scale, offset, 8), table)
    elif shape.epilogue == "residual":
        before = rng.normal(0, 30, acc.shape).astype(np.float32)
        wanted = ops.residual(before, acc, scale, offset)
    else:
        added = np.tile(pos, (shape.rows // shape.period, 1)) if shape.period else np.float32(0)
        wanted = np.asarray(added + ops.float_out(acc, scale, offset))
    buffers |= {"S": scale, "B": offset, "range": CODES, "table": table, "pos": pos}
    return case_of(buffers, before, wanted)


def attention_case(shape: CudaAttentionShape, seed: int = 0) -> CudaCase:
    """Scores that span a few softmax tables, so that some differences are cut off."""
    rng, rows, channels = np.random.default_rng(seed), shape.images * shape.tokens, shape.heads * shape.head_dim
    qkv = _codes(rng, rows, 3 * channels, -128, 127)
    S = (255 / (shape.head_dim * 128 * 128) * rng.uniform(0.5, 3, shape.heads)).astype(np.float32)
    P = np.sort(rng.integers(0, 256, 256).astype(np.uint8))[::-1].copy()
    P[0], P[255] = 255, 0
    M, B = (rng.uniform(low, high, channels).astype(np.float32) for low, high in ((0.5, 2), (-6, 6)))
    whole, bias = qkv.reshape(shape.images, shape.tokens, -1), None
    buffers = {"qkv": packed_rows(qkv, 8), "S": S, "P": P, "M": M, "B": B, "range": CODES}
    if shape.groups:
        size = shape.patterns, shape.heads, shape.tokens, shape.tokens
        every = rng.integers(-(1 << 16), 1 << 16, size).astype(np.int32)
        pattern = (np.arange(shape.groups) % shape.patterns).astype(np.int32)
        bias = every[pattern]
        held = np.pad(every.reshape(-1, shape.tokens), ((0, 0), (0, -shape.tokens % GROUP)))
        buffers |= {"bias": held, "pattern": pattern}
    wanted = ops.attention(whole, S, P, M, B, shape.heads, shape.head_dim, 8, bias).reshape(rows, channels)
    return case_of(buffers, None, wanted)


def norm_case(rows: int, channels: int, seed: int = 0) -> CudaCase:
    """Rows of different size, some elements far out."""
    rng, sizes = np.random.default_rng(seed), (rows, channels)
    x = (rng.normal(0, 1, sizes) * np.where(rng.random(sizes) < 0.03, 100, 3)).astype(np.float32)
    G, B = (rng.normal(0, spread, channels).astype(np.float32) for spread in (40, 20))
    return case_of({"stream": x, "G": G, "B": B, "range": CODES}, None, ops.layer_norm_codes(x, G, B, EPS, 8))


def case_of(buffers: dict[str, np.ndarray], before: np.ndarray | None, wanted: np.ndarray) -> CudaCase:
    """The case of 8-bit codes or float32 values [rows, n]; `out` is zeros where it is nothing before."""
    if wanted.dtype == np.int8:
        out = np.zeros_like(packed_rows(wanted, 8))
        return CudaCase({**buffers, "out": out}, wanted.view(np.uint8))
    out = np.zeros_like(wanted) if before is None else before
    return CudaCase({**buffers, "out": out}, np.ascontiguousarray(wanted).view(np.uint8))


def _codes(rng: np.random.Generator, rows: int, columns: int, low: int, high: int) -> np.ndarray:
    codes = rng.integers(low, high + 1, (rows, columns)).astype(np.int8)
    codes[:1], codes[1:2] = low, high
    return codes


def packed_rows(codes: np.ndarray, bits: int) -> np.ndarray:
    """Rows of codes as words in rows of whole 16 bytes."""
    return pack_words(codes, "s8" if bits == 8 else "s4", row_words(codes.shape[1], bits))
