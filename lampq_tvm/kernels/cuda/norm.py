"""LayerNorm (or RMSNorm) of a stream's row by one warp, by the arithmetic table: each lane is one of its 32 strided lanes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import (
    WARP,
    CudaKernel,
    add_across,
    argument,
    butterfly,
    f32,
    i32,
    launch,
    ptx,
    put,
    registers,
    u32,
    when,
)
from lampq_tvm.kernels.cuda.half import two_halves
from lampq_tvm.kernels.cuda.sink import CodeSink, joined
from lampq_tvm.kinds import Kind

ROW_WARPS = 4  # rows of a block of the plain kernel
MOST_ELEMENTS = 48  # registers of a lane that hold elements of rows


@dataclass(frozen=True)
class RowNorm:
    """LayerNorm of rows of a stream [rows, channels] float32; `eps` and `centred` as the network has them."""

    stream: Any
    G: Any
    B: Any
    eps: float
    centred: bool = True

    @property
    def channels(self) -> int:
        """Channels of a row."""
        return int(self.stream.shape[1])

    def at_once(self, lines: int) -> int:
        """How many of a warp's `lines` rows are made side by side: their waits overlap, their elements lie in registers."""
        return next(n for n in (4, 2, 1) if (lines % n == 0 and n * self._count <= MOST_ELEMENTS) or n == 1)

    def values(self, rows: Sequence[Expr], lane: Expr) -> list[list[Expr]]:
        """fma(fl(c * r), G, B) of some rows, [row][j] of channel lane + 32 j; beyond the last channel it may be anything."""
        x, found = registers(len(rows) * self._count, "float32"), registers(2 * len(rows), "float32")
        for i in range(2 * len(rows)):
            put(found, i, f32(0))
        for i, j, place in self._places(rows):
            put(x, place, f32(0))
            with when(self._inside(j, lane)):
                put(x, place, self.stream[rows[i], lane + j * WARP])
        if self.centred:
            for i, j, place in self._places(rows):
                with when(self._inside(j, lane)):
                    put(found, 2 * i, found[2 * i] + x[place])
            add_across(found, range(0, 2 * len(rows), 2))
        for i, j, place in self._places(rows):
            if self.centred:
                put(x, place, T.fma(f32(-(np.float32(1) / np.float32(self.channels))), found[2 * i], x[place]))
            with when(self._inside(j, lane)):
                put(found, 2 * i + 1, T.fma(x[place], x[place], found[2 * i + 1]))
        add_across(found, range(1, 2 * len(rows), 2))
        for i in range(len(rows)):
            variance = T.fma(found[2 * i + 1], f32(np.float32(1) / np.float32(self.channels)), f32(np.float32(self.eps)))
            put(found, 2 * i + 1, f32(1) / T.sqrt(variance))
        factor, shift = registers(1, "float32"), registers(1, "float32")
        for j in range(self._count):
            channel = lane + j * WARP
            channel = channel if self._inside(j, lane) is None else tirx.min(channel, i32(self.channels - 1))
            put(factor, 0, self.G[channel])
            put(shift, 0, self.B[channel])
            for i in range(len(rows)):
                place = i * self._count + j
                put(x, place, T.fma(x[place] * found[2 * i + 1], factor[0], shift[0]))
        return [[x[i * self._count + j] for j in range(self._count)] for i in range(len(rows))]

    def _places(self, rows: Sequence[Expr]) -> Iterator[tuple[int, int, int]]:
        """(row, j, register) of every element of a lane, row after row within each j."""
        return ((i, j, i * self._count + j) for j in range(self._count) for i in range(len(rows)))

    @property
    def _count(self) -> int:
        """Elements of a row in a lane."""
        return -(-self.channels // WARP)

    def _inside(self, j: int, lane: Expr) -> Expr | None:
        return None if (j + 1) * WARP <= self.channels else lane + j * WARP < self.channels


def row_words_of(values: list[Expr], sink: CodeSink, lane: Expr) -> Iterator[tuple[Expr, Expr, Expr | None]]:
    """(place, word, whether this lane has one) of a row's words of codes, or of float16 values, from `RowNorm.values`.

    A lane's elements lie 32 channels apart, a word's side by side: lanes exchange bytes until each holds whole words.
    """
    bits = sink.kind.bits
    per = 32 // max(bits, 8)  # elements of a word while lanes exchange them
    word, other = registers(1), registers(1)
    for first in range(0, len(values), per):
        items = values[first : first + per]
        if sink.kind.is_float:
            put(word, 0, two_halves([*items, f32(0)][:2]))
            put(other, 0, butterfly(word[0], 1))
            ptx("prmt.b32", word[0], word[0], other[0], _pick(lane, 1, 0x5410, 0x3276))
            yield (first + lane % 2) * 16 + lane // 2, word[0], None
            continue
        put(word, 0, joined(sink.codes(items), 8)[0])
        for distance, low, high in ((1, 0x6240, 0x3715), (2, 0x5410, 0x3276)):
            put(other, 0, butterfly(word[0], distance))
            ptx("prmt.b32", word[0], word[0], other[0], _pick(lane, distance, low, high))
        place = (first + lane % 4) * 8 + lane // 4
        if bits == 8:
            yield place, word[0], None
            continue
        put(word, 0, _nibbles(word[0]))
        put(other, 0, butterfly(word[0], 4))
        yield place // 2, T.bitwise_or(word[0], T.shift_left(other[0], u32(16))), lane // 4 % 2 == 0


def put_row(out: Any, row: Expr, values: list[Expr], channels: int, sink: CodeSink, lane: Expr) -> None:
    """Write a row of codes, or of float16 values, from `RowNorm.values`; `out` is [rows, words] uint32 of whole 16 bytes a row.

    Codes end with the word of the last channel, float16 values with the row: what a product reads there must be finite.
    """
    written = int(out.shape[1]) if sink.kind.is_float else -(-channels * sink.kind.bits // 32)
    for place, word, has in row_words_of(values, sink, lane):
        inside = place < written
        with when(inside if has is None else T.And(has, inside)):
            put(out, (row, place), word)


def _pick(lane: Expr, bit: int, low: int, high: int) -> Expr:
    """Which bytes a lane takes, by a bit of its number."""
    return T.Select(T.bitwise_and(lane, i32(bit)) == 0, u32(low), u32(high))


def _nibbles(word: Expr) -> Expr:
    """The low nibbles of a word's bytes in its lower half."""
    low = T.bitwise_or(T.bitwise_and(word, u32(0x0F)), T.bitwise_and(T.shift_right(word, u32(4)), u32(0xF0)))
    rest = T.bitwise_and(T.shift_right(word, u32(8)), u32(0x0F00))
    return T.bitwise_or(T.bitwise_or(low, rest), T.bitwise_and(T.shift_right(word, u32(12)), u32(0xF000)))


def build_norm(
    rows: int,
    channels: int,
    eps: float,
    *,
    out: Kind,
    table: bool = False,
    centred: bool = True,
    stride: int = 1,
    name: str = "norm",
) -> CudaKernel:
    """LayerNorm (RMSNorm where it is not `centred`) on its own, to codes or to float.

    Buffers, in order: stream [rows * stride, channels] f32; G, B [channels] f32; range [2] f32 (to codes only) or table; the
    output, codes or float16 values as [rows, words] uint32 in rows of whole 16 bytes, or [rows, channels] f32.

    Args:
        out: int8, int4, float16 or float32.
        table: it is looked up for the codes.
        stride: every how manieth row is taken, for a class token alone.
    """
    grid = (-(-rows // ROW_WARPS), 1, 1)
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name(name)
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            stream = argument("stream", (rows * stride, channels), "float32")
            norm = RowNorm(stream, argument("G", (channels,), "float32"), argument("B", (channels,), "float32"), eps, centred)
            sink = None if out is Kind.FLOAT32 else CodeSink.declare(out, table=table)
            words = channels if sink is None else -(-channels * out.bits // 128) * 4
            made = argument("out", (rows, words), "float32" if sink is None else "uint32")
            with launch(grid, ROW_WARPS) as threads:
                row = threads.block[0] * ROW_WARPS + threads.warp
                with when(row < rows if rows % ROW_WARPS else None):
                    values = norm.values([row * stride], threads.lane)[0]
                    if sink is not None:
                        put_row(made, row, values, channels, sink, threads.lane)
                    else:
                        for j, value in enumerate(values):
                            with when(threads.lane + WARP * j < channels):
                                put(made, (row, threads.lane + WARP * j), value)
        func = builder.get()
    return CudaKernel(func, grid, (WARP, ROW_WARPS, 1))
