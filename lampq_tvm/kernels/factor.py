"""One head's right factor of an attention product, packed like weights, and the panel of rows that it is multiplied with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import interleave, ramp
from lampq_tvm.kernels.isa.dot import Dot, Tile
from lampq_tvm.kernels.isa.operand import Packed
from lampq_tvm.kernels.panel import panel_shape
from lampq_tvm.kernels.registers import Registers
from lampq_tvm.kernels.shapes import round_up
from lampq_tvm.kernels.tiles import Tiles
from lampq_tvm.levels.level import CpuLevel

Sizes = tuple[int, int, int]  # rows and vectors of a register tile, and steps along the depth that are written out
Sums = list[list[Expr]]  # of a tile, row by row: registers of int32
Sink = Callable[[Sums, Expr, int], None]  # takes a tile's sums, its first column, and how many columns exist
BYTES = 16  # channels that values are turned with at once


@dataclass(frozen=True)
class Factor:
    """A factor [columns, depth] of one head: keys or values.

    Attributes:
        dot: the multiply-add.
        columns, depth: true sizes.
        excess: what the row operand holds beyond its meaning: sums are corrected by -excess * (sum over depth).
    """

    dot: Dot
    columns: int
    depth: int
    excess: int

    @property
    def padded(self) -> tuple[int, int]:
        """Columns and depth as stored."""
        return round_up(self.columns, self.dot.lanes), round_up(self.depth, self.dot.group)

    @property
    def packed(self) -> tuple[int, int, int]:
        """[columns / lanes, depth / group, lanes * group]."""
        columns, depth = self.padded
        return columns // self.dot.lanes, depth // self.dot.group, self.dot.lanes * self.dot.group

    def pack_rows(self, source: Any, first: Expr, channel: Expr, packed: Any, pair: Expr, part: Expr, parts: int) -> None:
        """Lay out a part of a factor whose columns are the source's rows (keys); zeros beyond its sizes."""
        lanes, group = self.dot.lanes, self.dot.group
        rest = self.depth % group
        begin, end = self._blocks(part, parts)
        true = tirx.const(self.columns, "int32")
        with T.serial(begin * lanes, tirx.min(end * lanes, true)) as row:
            with T.serial(0, self.depth // group) as k:
                codes = source.vload([first + row, channel + k * group], f"int8x{group}")
                T.buffer_store(packed, self._kept(codes, group), [pair, row // lanes, k, ramp(row % lanes * group, group)])
            if rest:
                with T.serial(0, group) as i:
                    at = tirx.min(tirx.const(self.depth - rest, "int32") + i, tirx.const(self.depth - 1, "int32"))
                    code = tirx.Select(i < rest, source[first + row, channel + at], tirx.const(0, "int8"))
                    place = row % lanes * group + i
                    T.buffer_store(packed, self._kept(code, 1), [pair, row // lanes, self.depth // group, place])
        with T.serial(tirx.min(end * lanes, true), end * lanes) as row, T.serial(0, self.packed[1]) as k:
            zeros = T.broadcast(tirx.const(0, self.dot.weight_dtype), group)
            T.buffer_store(packed, zeros, [pair, row // lanes, k, ramp(row % lanes * group, group)])

    def pack_columns(self, source: Any, first: Expr, channel: Expr, packed: Any, pair: Expr, part: Expr, parts: int) -> None:
        """Lay out a part of a factor whose columns are the source's channels (values); zeros beyond its sizes."""
        lanes, group = self.dot.lanes, self.dot.group
        turned = self.depth // group if self.columns % BYTES == 0 else 0
        begin, end = self._blocks(part, parts)
        if turned:
            with T.serial(0, turned) as k, T.serial(begin * lanes // BYTES, end * lanes // BYTES) as c:
                self._turn(source, first + k * group, channel + c * BYTES, packed, (pair, k, c * BYTES))
        with T.serial(turned, self.packed[1]) as k, T.serial(begin * lanes, end * lanes) as c, T.serial(0, group) as i:
            inside = tirx.all(k * group + i < self.depth, c < self.columns)
            row = tirx.min(k * group + i, tirx.const(self.depth - 1, "int32"))
            column = tirx.min(c, tirx.const(self.columns - 1, "int32"))
            code = tirx.Select(inside, source[first + row, channel + column], tirx.const(0, "int8"))
            T.buffer_store(packed, self._kept(code, 1), [pair, c // lanes, k, c % lanes * group + i])

    def _kept(self, codes: Expr, count: int) -> Expr:
        """Codes as they are multiplied."""
        dtype = self.dot.weight_dtype
        return codes if dtype == "int8" else T.Cast(f"{dtype}x{count}" if count > 1 else dtype, codes)

    def _blocks(self, part: Expr, parts: int) -> tuple[Expr, Expr]:
        """First block of columns of a part, and the one after its last."""
        each, blocks = -(-self.packed[0] // parts), tirx.const(self.packed[0], "int32")
        return tirx.min(part * each, blocks), tirx.min((part + 1) * each, blocks)

    def _turn(self, source: Any, row: Expr, channel: Expr, packed: Any, at: tuple[Expr, Expr, Expr]) -> None:
        """Turn `group` rows of 16 channels into 16 runs of `group` rows, by rounds of interleaving."""
        lanes, group = self.dot.lanes, self.dot.group
        vectors = [source.vload([row + i, channel], f"int8x{BYTES}") for i in range(group)]
        pair, k, column = at
        each = BYTES // group
        for j, vector in enumerate(interleave(vectors, BYTES)):
            c = column + j * each
            T.buffer_store(packed, self._kept(vector, BYTES), [pair, c // lanes, k, ramp(c % lanes * group, BYTES)])

    def correct(self, packed: Any, fix: Any, pair: Expr, part: Expr, parts: int) -> None:
        """fix[column] = -excess times the sum over its depth, for the columns of a part."""
        if not self.excess:
            return
        lanes = self.dot.acc_lanes

        def sink(sums: Sums, first: Expr, _: int) -> None:
            for i, total in enumerate(sums[0]):
                wrong = total * T.broadcast(tirx.const(-self.excess, "int32"), lanes)
                T.buffer_store(fix, wrong, [pair, ramp(first + i * lanes, lanes)])

        with T.sblock("ones"):
            T.reads()
            T.writes()
            shape = panel_shape(self.dot, 1, 1, self.packed[1])
            ones = T.sblock_alloc_buffer(shape, self.dot.a_dtype)
            with T.serial(0, shape[1]) as k, T.serial(0, shape[2]) as i:
                T.buffer_store(ones, tirx.const(1, self.dot.a_dtype), [0, k, i])
            with T.serial(*self._blocks(part, parts)) as block:
                self._tile(self.dot, Packed(ones, (0,), self.dot.group), packed, pair, block, (1, 1, self.dot.unroll), sink)

    def multiply(self, panel: Any, packed: Any, fix: Any, pair: Expr, sizes: Sizes, sink: Sink) -> None:
        """The panel's rows times every column, corrected; sink takes each register tile, of the columns that exist."""
        rows, vectors, unroll = sizes
        lanes = self.dot.acc_lanes

        def corrected(sums: Sums, first: Expr, columns: int) -> None:
            if self.excess:
                at = [first + i * lanes for i in range(len(sums[0]))]
                sums = [[t + fix.vload([pair, c], f"int32x{lanes}") for t, c in zip(row, at, strict=True)] for row in sums]
            sink(sums, first, columns)

        a = Packed(panel, (0,), self.dot.group)
        ragged = self.columns % self.dot.lanes
        blocks = self.packed[0] - (ragged > 0)
        whole, rest = divmod(blocks, vectors)
        if whole:
            with T.serial(0, whole) as column:
                self._tile(self.dot, a, packed, pair, column * vectors, (rows, vectors, unroll), corrected)
        if rest:
            self._tile(self.dot, a, packed, pair, tirx.const(whole * vectors, "int32"), (rows, rest, unroll), corrected)
        if ragged:
            part, last = self.dot.part(ragged), tirx.const(blocks, "int32")
            self._tile(part, a, packed, pair, last, (rows, 1, unroll), corrected, ragged)

    def _tile(
        self, dot: Dot, a: Packed, packed: Any, pair: Expr, block: Expr, sizes: Sizes, sink: Sink, columns: int = 0
    ) -> None:
        rows, vectors, unroll = sizes
        with T.sblock("tile"):
            T.reads()
            T.writes()
            acc = Registers(dot.slots(rows, vectors), dot.acc_lanes, "int32")
            weights = [Packed(packed, (pair, block + vector)) for vector in range(vectors)]
            tile = Tile(rows, vectors, self.packed[1], unroll, acc, a, weights)
            dot.multiply(tile)
            sums = [[total for v in range(vectors) for total in dot.read(tile, row, v)] for row in range(rows)]
            sink(sums, block * self.dot.lanes, columns or vectors * dot.lanes)


def row_tiles(rows: int, factors: Sequence[Factor], level: CpuLevel, each: int = 0) -> Tiles:
    """Sizes for rows that are multiplied with factors one after the other: those with the fewest instructions, the rows that
    the last tile computes twice included.

    Args:
        each: instructions of a row between the products.
    """
    vectors = min(level.attention_vectors, factors[0].packed[0])

    def cost(count: int) -> float:
        products = sum(f.packed[1] * -(-f.padded[0] // f.dot.lanes) * f.dot.instructions(count, 1) for f in factors)
        return -(-rows // count) * (products + each * count)

    fitting = [r for r in range(min(level.attention_rows, rows), 0, -1) if all(f.dot.fits(r, vectors) for f in factors)]
    return Tiles(min(fitting, key=cost), vectors, unroll=factors[0].dot.unroll)
