"""What becomes of a product's sums: codes, a look-up, an addition to the stream, or floats.

    codes, table    sat(rne(fma(fl(acc), M[n], B[n]))), then table[code + 128]
    residual        fl(stream[m, n] + fma(fl(acc), S[n], B[n]))
    float           fma(fl(acc), S[n], B[n])
    stream          fl(pos[m mod period, n] + fma(fl(acc), S[n], B[n]))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import ramp
from lampq_tvm.kernels.isa.dot import Dot, Tile
from lampq_tvm.kernels.isa.level import Level
from lampq_tvm.kernels.shapes import ProductShape


@dataclass(frozen=True)
class Epilogue:
    """The arguments of a product's epilogue, and how it writes a register tile.

    Attributes:
        correction: int32 [N], None where the multiply-add does not shift.
        scale, shift: M or S, and B: float32 [N].
        bounds: float32 [2], for codes.
        added: the stream [M, N] or the positions [period, N], float32.
        table: int8 [256].
        out: where the tile goes: the output [M, N], or codes [rows, N] before a look-up.
    """

    shape: ProductShape
    level: Level
    correction: Any
    scale: Any
    shift: Any
    bounds: Any
    added: Any
    table: Any
    out: Any

    @property
    def to_codes(self) -> bool:
        """Whether the output is codes."""
        return self.shape.out_dtype == "int8"

    def write(self, dot: Dot, tile: Tile, row: Expr, first: Expr, out_row: Expr, count: int) -> None:
        """Write the tile whose first row and channel these are, up to its `count` whole registers of channels."""
        lanes = dot.acc_lanes
        for r in range(tile.rows):
            sums = [total for v in range(tile.vectors) for total in dot.read(tile, r, v)][:count]
            values = [self._value(total, row + r, first + i * lanes, lanes) for i, total in enumerate(sums)]
            if not self.to_codes:
                for i, value in enumerate(values):
                    T.buffer_store(self.out, value, [out_row + r, ramp(first + i * lanes, lanes)])
                continue
            for lane, size, codes in self.level.narrow(values, *self.range):
                T.buffer_store(self.out, codes, [out_row + r, ramp(first + lane, size)])

    def write_tail(self, dot: Dot, tile: Tile, row: Expr, first: Expr, out_row: Expr) -> None:
        """Write one last vector of which only some channels exist: whole registers, then lane by lane."""
        lanes = dot.acc_lanes
        whole, rest = divmod(self.shape.n % dot.lanes, lanes)
        self.write(dot, tile, row, first, out_row, whole)
        if not rest:
            return
        sums = T.sblock_alloc_buffer((tile.rows, lanes), "int32")
        for r in range(tile.rows):
            T.buffer_store(sums, dot.read(tile, r, 0)[whole], [r, ramp(0, lanes)])
        with T.serial(0, tile.rows) as r, T.serial(0, rest) as lane:
            channel = first + whole * lanes + lane
            value = self._value(sums[r, lane], row + r, channel, 1)
            if self.to_codes:
                low, high = self.range
                value = T.Cast("int8", T.round(tirx.min(tirx.max(value, low), high)))
            T.buffer_store(self.out, value, [out_row + r, channel])

    @property
    def range(self) -> tuple[Expr, Expr]:
        """Lowest and highest code; all 8 bits before a table."""
        if self.bounds is None:
            return tirx.const(-128.0, "float32"), tirx.const(127.0, "float32")
        return self.bounds[0], self.bounds[1]

    def _value(self, acc: Expr, row: Expr, first: Expr, lanes: int) -> Expr:
        def channel(buffer: Any, *rows: Expr) -> Expr:
            dtype = str(buffer.dtype)
            return buffer.vload([*rows, first], f"{dtype}x{lanes}") if lanes > 1 else buffer[(*rows, first)]

        total = acc + channel(self.correction) if self.correction is not None else acc
        dtype = f"float32x{lanes}" if lanes > 1 else "float32"
        value = T.fma(T.Cast(dtype, total), channel(self.scale), channel(self.shift))
        if self.added is None:
            return value
        return channel(self.added, row % self.shape.period if self.shape.period else row) + value
