"""What a candidate is judged by: arguments of a product kernel and the output that the oracle expects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lampq_tvm.kernels.shapes import padded
from lampq_tvm.oracle import ops
from lampq_tvm.quantize.weights import weight_range
from lampq_tvm.runtime.params import lay_out
from lampq_tvm.store import digest
from lampq_tvm.tune.space import Kernel


@dataclass(frozen=True)
class Case:
    """Arguments in the kernel's order, without the output, and the exact output [M, N]."""

    arguments: tuple[np.ndarray, ...]
    expected: np.ndarray


def make_case(kernel: Kernel) -> Case:
    """Random codes of the kernel's widths, the first two rows and channels at their extremes."""
    shape, dot = kernel.shape, kernel.dot
    rng = np.random.default_rng(int(digest(shape.key, dot.name)[:8], 16))
    half = 1 << (kernel.a_bits - 1)
    a = _codes(rng, shape.rows, shape.k, -half, half - 1)
    w = _codes(rng, shape.n, shape.k, *weight_range(kernel.w_bits))
    acc = ops.product_acc(a, w)
    rest, expected = _epilogue(kernel, acc, rng)
    correction = [(-dot.shift * w.sum(1, dtype=np.int64)).astype(np.int32)] if dot.shift else []
    packed = lay_out(w, list(padded(shape, dot)), dot.lanes, dot.group)
    return Case((a, packed, *correction, *rest), expected)


def _codes(rng: np.random.Generator, rows: int, columns: int, low: int, high: int) -> np.ndarray:
    codes = rng.integers(low, high + 1, (rows, columns)).astype(np.int8)
    codes[:1], codes[1:2] = low, high
    return codes


def _epilogue(kernel: Kernel, acc: np.ndarray, rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """The epilogue's arguments and its output."""
    shape = kernel.shape
    spread = np.maximum(acc.std(0), 1.0)
    scale = (40.0 / spread * rng.uniform(0.5, 1.5, shape.n)).astype(np.float32)
    offset = rng.normal(0, 20, shape.n).astype(np.float32)
    if shape.epilogue == "codes":
        return [scale, offset, np.array([-128, 127], np.float32)], ops.requantize(acc, scale, offset, 8)
    if shape.epilogue == "table":
        table = rng.integers(-128, 128, 256).astype(np.int8)
        return [scale, offset, table], ops.apply_table(ops.requantize(acc, scale, offset, 8), table)
    if shape.epilogue == "float":
        return [scale, offset], ops.float_out(acc, scale, offset)
    if shape.epilogue == "residual":
        stream = rng.normal(0, 30, acc.shape).astype(np.float32)
        return [stream, scale, offset], ops.residual(stream, acc, scale, offset)
    pos = rng.normal(0, 30, (shape.period, shape.n)).astype(np.float32)
    tiled = np.tile(pos, (shape.rows // shape.period, 1))
    return [scale, offset, pos], np.asarray(tiled + ops.float_out(acc, scale, offset))
