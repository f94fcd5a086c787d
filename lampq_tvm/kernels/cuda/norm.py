"""LayerNorm of a stream's row by one warp, by the arithmetic table: each lane is one of its 32 strided lanes."""

from __future__ import annotations

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
    argument,
    butterfly,
    codes_of,
    f32,
    i32,
    launch,
    put,
    registers,
    u32,
    when,
)
from lampq_tvm.kernels.cuda.half import two_halves

ROW_WARPS = 4  # rows of a block of the plain kernel


@dataclass(frozen=True)
class RowNorm:
    """LayerNorm of rows of a stream [rows, channels] float32; `eps` as the network has it."""

    stream: Any
    G: Any
    B: Any
    eps: float

    @property
    def channels(self) -> int:
        """Channels of a row."""
        return int(self.stream.shape[1])

    def statistics(self, found: Any, row: Expr, lane: Expr) -> None:
        """found[0] = sum of the row, found[1] = r = fl(1 / fl(sqrt(variance + eps))), in every lane."""
        count = -(-self.channels // WARP)
        x = registers(count, "float32")
        put(found, 0, f32(0))
        for j in range(count):
            with when(self._inside(j, lane)):
                put(x, j, self.stream[row, lane + j * WARP])
                put(found, 0, found[0] + x[j])
        self._halve(found, 0)
        put(found, 1, f32(0))
        for j in range(count):
            with when(self._inside(j, lane)):
                put(x, j, self._centred(x[j], found))
                put(found, 1, T.fma(x[j], x[j], found[1]))
        self._halve(found, 1)
        put(found, 1, f32(1) / T.sqrt(T.fma(found[1], self._inverse, f32(np.float32(self.eps)))))

    def value(self, found: Any, row: Expr, channel: Expr) -> Expr:
        """fma(fl(c * r), G, B) of an element."""
        scaled = self._centred(self.stream[row, channel], found) * found[1]
        return T.fma(scaled, self.G[channel], self.B[channel])

    def word(self, found: Any, row: Expr, word: Expr, bits: int, bounds: Any) -> Expr:
        """The word of codes or float16 values that begins at channel `word * 32 / bits`; beyond the row it holds anything."""
        packed = u32(0)
        per = 32 // bits
        if bits == 16:
            channels = [tirx.min(word * 2 + i, i32(self.channels - 1)) for i in range(2)]
            return two_halves([self.value(found, row, channel) for channel in channels])
        for i in range(per):
            channel = word * per + i
            channel = tirx.min(channel, i32(self.channels - 1)) if self.channels % per else channel
            code = T.reinterpret(codes_of(self.value(found, row, channel), bounds[0], bounds[1]), dtype="uint32")
            byte = T.shift_left(T.bitwise_and(code, u32((1 << bits) - 1)), u32(bits * i))
            packed = T.bitwise_or(packed, byte) if i else byte
        return packed

    @property
    def _inverse(self) -> Expr:
        return f32(np.float32(1) / np.float32(self.channels))

    def _centred(self, x: Expr, found: Any) -> Expr:
        return T.fma(f32(-(np.float32(1) / np.float32(self.channels))), found[0], x)

    def _inside(self, j: int, lane: Expr) -> Expr | None:
        return None if (j + 1) * WARP <= self.channels else lane + j * WARP < self.channels

    def _halve(self, found: Any, slot: int) -> None:
        for distance in (16, 8, 4, 2, 1):
            put(found, slot, found[slot] + butterfly(found[slot], distance))


def build_norm(
    rows: int, channels: int, eps: float, *, out_bits: int | None, stride: int = 1, name: str = "norm"
) -> CudaKernel:
    """LayerNorm on its own, to codes or to float.

    Buffers, in order: stream [rows * stride, channels] f32; G, B [channels] f32; range [2] f32 (to codes only); the output,
    codes or float16 values as [rows, words] uint32 in rows of whole 16 bytes, or [rows, channels] f32.

    Args:
        out_bits: 8 or 4; 16 for float16; None for float32.
        stride: every how manieth row is taken, for a class token alone.
    """
    grid = (-(-rows // ROW_WARPS), 1, 1)
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name(name)
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            stream = argument("stream", (rows * stride, channels), "float32")
            norm = RowNorm(stream, argument("G", (channels,), "float32"), argument("B", (channels,), "float32"), eps)
            bounds = argument("range", (2,), "float32") if out_bits in (4, 8) else None
            words = -(-channels * out_bits // 128) * 4 if out_bits else channels
            out = argument("out", (rows, words), "uint32" if out_bits else "float32")
            with launch(grid, ROW_WARPS) as threads:
                row = threads.block[0] * ROW_WARPS + threads.warp
                with when(row < rows if rows % ROW_WARPS else None):
                    found = registers(2, "float32")
                    norm.statistics(found, row * stride, threads.lane)
                    written = -(-channels * out_bits // 32) if out_bits in (4, 8) else words
                    for first in range(0, written, WARP):
                        place = threads.lane + first
                        with when(None if first + WARP <= written else place < written):
                            value = norm.value(found, row * stride, place)
                            if out_bits:
                                value = norm.word(found, row * stride, place, out_bits, bounds)
                            put(out, (row, place), value)
        func = builder.get()
    return CudaKernel(func, grid, (WARP, ROW_WARPS, 1))
