"""q, k and v of heads from floats to codes: turned by their token's angles, or divided by their lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import WARP, CudaKernel, add_across, argument, f32, i32, launch, put, registers, when
from lampq_tvm.kernels.cuda.operand import row_words
from lampq_tvm.kernels.cuda.sink import CodeSink
from lampq_tvm.kernels.cuda.tokens import WARPS, elementwise
from lampq_tvm.kinds import Kind


def build_rotary(
    rows: int, tokens: int, heads: int, head_dim: int, kind: Kind, *, table: bool = False, name: str = "rotary"
) -> CudaKernel:
    """code = sat(rne(u * inv)), u = fma(x[c], cos[t, c], fl(x[partner[c]] * sin[t, c])) of q and k, u = x of v.

    Buffers: qkv [rows, 3 * heads * head_dim] f32, row r being token r % tokens; cos, sin [tokens, head_dim] f32; partner
    [head_dim] int32; inv [3, heads] f32; range [2] f32, or with `table` table [256] int8, which is looked up at the code + 128;
    out [rows, words] uint32; of float16 values no range.
    """
    channels, per, words = heads * head_dim, 32 // kind.bits, row_words(3 * heads * head_dim, kind.bits)

    def declare() -> Callable[[Expr], None]:
        qkv = argument("qkv", (rows, 3 * channels), "float32")
        cos, sin = (argument(each, (tokens, head_dim), "float32") for each in ("cos", "sin"))
        partner, inv = argument("partner", (head_dim,), "int32"), argument("inv", (3, heads), "float32")
        sink = CodeSink.declare(kind, table=table)
        out = argument("out", (rows, words), "uint32")

        def scaled(row: Expr, channel: Expr) -> Expr:
            part, head, c = channel // channels, channel % channels // head_dim, channel % head_dim
            x, other = qkv[row, channel], qkv[row, channel - c + partner[c]]
            turned = T.fma(x, cos[row % tokens, c], other * sin[row % tokens, c])
            return T.Select(part < 2, turned, x) * inv[part, head]

        def work(item: Expr) -> None:
            row, first = item // words, item % words * per
            values = [scaled(row, T.min(first + i, i32(3 * channels - 1))) for i in range(per)]
            (word,) = sink.packed(values)
            put(out, (row, item % words), word)

        return work

    return elementwise(name, rows * words, declare)


def build_unit_heads(
    rows: int, heads: int, head_dim: int, eps: float, kind: Kind, *, table: bool = False, name: str = "unit"
) -> CudaKernel:
    """code = sat(rne(fl(x * fl(1 / max(length, eps))) * inv)) of q and k, head by head; v without the length.

    Buffers: qkv [rows, 3 * heads * head_dim] f32; inv [3, heads] f32; range or table as of `build_rotary`; out [rows, words]
    uint32. A warp takes a head: its lanes are those of the arithmetic table's sums.
    """
    channels, words = heads * head_dim, row_words(3 * heads * head_dim, kind.bits)
    items = rows * 3 * heads
    grid = (-(-items // WARPS), 1, 1)
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name(name)
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            qkv, inv = argument("qkv", (rows, 3 * channels), "float32"), argument("inv", (3, heads), "float32")
            sink = CodeSink.declare(kind, table=table)
            out = argument("out", (rows, words), "uint32")
            with launch(grid, WARPS) as threads:
                item = threads.block[0] * WARPS + threads.warp
                with when(None if items % WARPS == 0 else item < items):
                    row, number = item // (3 * heads), item % (3 * heads)
                    inverse = _inverse_length(qkv, row, number * head_dim, head_dim, eps, threads.lane)
                    factor = T.Select(number < 2 * heads, inverse, f32(1))  # times one is exact
                    factors = [factor, inv[number // heads, number % heads]]
                    _put_head(qkv, out, row, number, head_dim, factors, sink, threads.lane)
        func = builder.get()
    return CudaKernel(func, grid, (WARP, WARPS, 1))


def _inverse_length(qkv: Any, row: Expr, first: Expr, head_dim: int, eps: float, lane: Expr) -> Expr:
    """fl(1 / max(length, eps)) of a head."""
    total = registers(1, "float32")
    put(total, 0, f32(0))
    for start in range(0, head_dim, WARP):
        with when(None if start + WARP <= head_dim else lane + start < head_dim):
            x = qkv[row, first + lane + start]
            put(total, 0, T.fma(x, x, total[0]))
    add_across(total, (0,))
    return f32(1) / T.max(T.sqrt(total[0]), f32(np.float32(eps)))


def _put_head(
    qkv: Any, out: Any, row: Expr, number: Expr, head_dim: int, factors: list[Expr], sink: CodeSink, lane: Expr
) -> None:
    """Codes of a head, a word a lane."""
    per = 32 // sink.kind.bits
    words = head_dim // per
    for start in range(0, words, WARP):
        with when(None if start + WARP <= words else lane + start < words):
            place = number * words + lane + start
            values = [qkv[row, place * per + i] for i in range(per)]
            for factor in factors:
                values = [value * factor for value in values]
            (word,) = sink.packed(values)
            put(out, (row, place), word)
