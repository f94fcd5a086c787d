"""What becomes of a product's sums: codes, a look-up, an addition to the stream, or floats.

codes, table    sat(rne(fma(fl(acc), M[n], B[n]))), then table[code + 128]
residual        fl(stream[m, n] + fma(fl(acc), S[n], B[n]))
float           fma(fl(acc), S[n], B[n])
stream          fl(pos[m mod period, n] + fma(fl(acc), S[n], B[n]))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import ramp
from lampq_tvm.kernels.isa.dot import Dot, Tile
from lampq_tvm.kernels.isa.level import Level
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kernels.sink import CodeSink

Constants = tuple[Expr | None, Expr, Expr]  # correction, scale and shift


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
        constants = [self._constants(first + i * lanes, lanes) for i in range(count)]
        rows = [[total for v in range(tile.vectors) for total in dot.read(tile, r, v)][:count] for r in range(tile.rows)]
        if not self.to_codes:
            self._write_floats(rows, constants, row, first, lanes)
            return
        for r, sums in enumerate(rows):
            values = [_scaled(total, constants[i], lanes) for i, total in enumerate(sums)]
            self.sink.put(values, first, lanes, out_row + r)

    def _write_floats(self, rows: list[list[Expr]], constants: list[Constants], row: Expr, first: Expr, lanes: int) -> None:
        """The tile as floats; read and written through its own address, to which LLVM adds constants."""
        out, added = _view(self.out, row, first), None
        if self.added is not None:
            added = _view(self.added, row, first) if not self.shape.period else self.added
        for r, sums in enumerate(rows):
            for i, total in enumerate(sums):
                value = _scaled(total, constants[i], lanes)
                if added is not None:
                    at = (self._added_row(row + r), first + i * lanes) if self.shape.period else (r, i * lanes)
                    value = _channels(added, lanes, *at) + value
                T.buffer_store(out, value, [r, ramp(i * lanes, lanes)])

    def write_tail(self, dot: Dot, tile: Tile, row: Expr, first: Expr, out_row: Expr, channels: int) -> None:
        """Write one last vector of which only some channels exist: whole registers, then lane by lane."""
        lanes = dot.acc_lanes
        whole, rest = divmod(channels, lanes)
        self.write(dot, tile, row, first, out_row, whole)
        if not rest:
            return
        sums = T.sblock_alloc_buffer((tile.rows, lanes), "int32")
        for r in range(tile.rows):
            T.buffer_store(sums, dot.read(tile, r, 0)[whole], [r, ramp(0, lanes)])
        with T.serial(0, tile.rows) as r, T.serial(0, rest) as lane:
            channel = first + whole * lanes + lane
            value = _scaled(sums[r, lane], self._constants(channel, 1), 1)
            if self.added is not None:
                value = self.added[self._added_row(row + r), channel] + value
            if self.to_codes:
                self.sink.put([value], channel, 1, out_row + r)
            else:
                T.buffer_store(self.out, value, [out_row + r, channel])

    @property
    def sink(self) -> CodeSink:
        """Where codes go; those before a look-up lie in a buffer of the thread, and are looked up there."""
        return CodeSink(self.level, self.out, self.bounds)

    def _added_row(self, row: Expr) -> Expr:
        """The row of the stream, or of the positions, that a row adds."""
        return row % self.shape.period if self.shape.period else row

    def _constants(self, first: Expr, lanes: int) -> Constants:
        """The constants of a register of channels, in registers: stores to `out` may lie between their uses."""
        correction, scale, shift = (
            None if buffer is None else T.Bind(_channels(buffer, lanes, first))
            for buffer in (self.correction, self.scale, self.shift)
        )
        return correction, scale, shift


def _scaled(acc: Expr, constants: Constants, lanes: int) -> Expr:
    """fma(fl(acc), scale, shift)."""
    correction, scale, shift = constants
    total = acc + correction if correction is not None else acc
    return T.fma(T.Cast(_vector("float32", lanes), total), scale, shift)


def _view(buffer: Any, row: Expr, first: Expr) -> Any:
    """A buffer [rows, N] from a row and a channel on."""
    return T.decl_buffer(buffer.shape, buffer.dtype, data=T.Bind(T.address_of(buffer[row, first])))


def _vector(dtype: str, lanes: int) -> str:
    return f"{dtype}x{lanes}" if lanes > 1 else dtype


def _channels(buffer: Any, lanes: int, *at: Expr) -> Expr:
    """Neighbouring channels of a buffer, a scalar where it is one."""
    return buffer.vload([*at], _vector(str(buffer.dtype), lanes)) if lanes > 1 else buffer[at]
