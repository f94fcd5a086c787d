"""What a candidate is judged by: arguments of a kernel and the output that the oracle expects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kernels.attention import bias_shape
from lampq_tvm.kernels.shapes import padded
from lampq_tvm.kernels.tunable import AttentionKernel, Kernel, LayerNormKernel, ProductKernel
from lampq_tvm.oracle import ops
from lampq_tvm.quantizers.symmetric import weight_range
from lampq_tvm.runtime.params import lay_out
from lampq_tvm.store import digest

CODES = np.array([-128, 127], np.float32)


@dataclass(frozen=True)
class Case:
    """Arguments in the kernel's order, without the output, and the exact output."""

    arguments: tuple[np.ndarray, ...]
    expected: np.ndarray


@singledispatch
def make_case(kernel: Kernel) -> Case:
    """Random arguments of a kernel: codes of its widths, the first two rows at their extremes."""
    raise UnsupportedError("there is no oracle for this kernel", where=kernel.key)


@make_case.register
def _(kernel: ProductKernel) -> Case:
    shape, dot, rng = kernel.shape, kernel.dot, _random(kernel)
    half = 1 << (kernel.a_bits - 1)
    a = _codes(rng, shape.rows, shape.k, -half, half - 1)
    w = _codes(rng, shape.n, shape.k, *weight_range(kernel.w_bits))
    acc = ops.product_acc(a, w)
    rest, expected = _epilogue(kernel, acc, rng)
    correction = [(-dot.shift * w.sum(1, dtype=np.int64)).astype(np.int32)] if dot.shift else []
    packed = lay_out(w, list(padded(shape, dot)), dot.lanes, dot.group, dot.layout)
    return Case((a, packed, *correction, *rest), expected)


@make_case.register
def _(kernel: AttentionKernel) -> Case:
    """Scores span a few softmax tables, so that some differences are cut off."""
    shape, rng, half = kernel.shape, _random(kernel), 1 << (kernel.bits - 1)
    qkv = _codes(rng, shape.batch * shape.tokens, 3 * shape.channels, -half, half - 1)
    spread = shape.head_dim * half * half
    S = (255 / spread * rng.uniform(0.5, 3, shape.heads)).astype(np.float32)
    M, B = (rng.uniform(low, high, shape.channels).astype(np.float32) for low, high in ((64 / half, 256 / half), (-6, 6)))
    P = np.sort(rng.integers(0, 256, 256).astype(np.uint8))[::-1].copy()
    P[0], P[255] = 255, 0
    bias = np.zeros(bias_shape(shape, kernel.isa, kernel.bits), np.int32)
    if shape.groups:
        bias[:] = rng.integers(-spread // 4, spread // 4, bias.shape)
    added = bias[..., : shape.tokens] if shape.groups else None
    expected = ops.attention(qkv.reshape(shape.batch, shape.tokens, -1), S, P, M, B, shape.heads, shape.head_dim, 8, added)
    encode, expected = _encoded(kernel.table, expected.reshape(len(qkv), -1), rng)
    return Case((qkv, S, P, M, B, encode, bias), expected)


@make_case.register
def _(kernel: LayerNormKernel) -> Case:
    rng, sizes = _random(kernel), (kernel.rows, kernel.channels)
    x = (rng.normal(0, 1, sizes) * np.where(rng.random(sizes) < 0.03, 100, 3)).astype(np.float32)
    G, B = (rng.normal(0, spread, kernel.channels).astype(np.float32) for spread in (40, 20))
    exact = ops.layer_norm_float(x, G, B, kernel.eps, kernel.centred)
    exact = ops.saturate(exact, 8) if kernel.to_codes else exact
    encode, exact = _encoded(kernel.table, exact, rng)
    return Case((x, G, B, encode), exact)


def _encoded(table: bool, codes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The argument that says how codes are stored, and what is."""
    if not table:
        return CODES, codes
    entries = rng.integers(-128, 128, 256).astype(np.int8)
    return entries, ops.apply_table(codes, entries)


def _random(kernel: Kernel) -> np.random.Generator:
    return np.random.default_rng(int(digest(kernel.key)[:8], 16))


def _codes(rng: np.random.Generator, rows: int, columns: int, low: int, high: int) -> np.ndarray:
    codes = rng.integers(low, high + 1, (rows, columns)).astype(np.int8)
    codes[:1], codes[1:2] = low, high
    return codes


def _epilogue(kernel: ProductKernel, acc: np.ndarray, rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """The epilogue's arguments and its output."""
    shape = kernel.shape
    spread = np.maximum(acc.std(0), 1.0)
    scale = (40.0 / spread * rng.uniform(0.5, 1.5, shape.n)).astype(np.float32)
    offset = rng.normal(0, 20, shape.n).astype(np.float32)
    if shape.epilogue == "codes":
        return [scale, offset, CODES], ops.requantize(acc, scale, offset, 8)
    if shape.epilogue == "table":
        table, expected = _encoded(True, ops.requantize(acc, scale, offset, 8), rng)
        return [scale, offset, table], expected
    if shape.epilogue == "float":
        return [scale, offset], ops.float_out(acc, scale, offset)
    if shape.epilogue == "residual":
        stream = rng.normal(0, 30, acc.shape).astype(np.float32)
        return [stream, scale, offset], ops.residual(stream, acc, scale, offset)
    pos = rng.normal(0, 30, (shape.period, shape.n)).astype(np.float32)
    tiled = np.tile(pos, (shape.rows // shape.period, 1))
    return [scale, offset, pos], np.asarray(tiled + ops.float_out(acc, scale, offset))
