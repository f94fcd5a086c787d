"""Plain NEON with weights of 2 bits: `tbl` looks up what a pair of weights makes of a pair of activations.

Two weights of 2 bits are one of 16 pairs, so that a register holds a table for a row's pair of inputs: minus
w0 * a0 + w1 * a1 for each of them. One `tbl` finds it for 16 channels, 32 products, where `mla` makes 16. A byte adds `depth`
of these; the table's sign is turned, since -2 * -8 twice, added up, leaves int8 where its opposite does not. `ssubw` widens
what a byte holds into 16 bits, and those go over into 32 after `BLOCKS`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import pick
from lampq_tvm.kernels.isa.assembly import BYTES, MOST, Assembled, Loop, registers
from lampq_tvm.kernels.isa.dot import Dot, Tile
from lampq_tvm.kernels.registers import Registers
from lampq_tvm.kernels.shapes import round_up

BLOCKS = 255  # of `depth` steps: each adds 128 at most to a 16-bit lane
TEMPORARIES = 2  # registers that look-ups pass through


def depth_of(a_bits: int) -> int:
    """Pairs of products of activations with 2-bit weights that a byte holds; 0: not even one.

    >>> [depth_of(bits) for bits in range(2, 9)]
    [16, 8, 4, 2, 1, 0, 0]
    """
    return 128 >> (a_bits + 1)


@dataclass(frozen=True)
class Tables(Assembled):
    """Sixteen channels a register of table places; sums of a row in 16 bits while steps are added.

    Attributes:
        depth: pairs that a byte adds before it is widened.
    """

    depth: int

    @property
    def layout(self) -> str:
        """Places in the tables."""
        return "pairs"

    @property
    def row_items(self) -> int:
        """A table."""
        return BYTES

    @property
    def weight_bytes(self) -> int:
        """A place for each channel."""
        return self.lanes

    @property
    def row_block(self) -> int:
        """Rows of a panel are padded to a multiple of it."""
        return 1

    @property
    def step_block(self) -> int:
        """Steps of a panel are padded to a multiple of it."""
        return self.depth

    @property
    def accumulators(self) -> int:
        """Sums of eight registers of channels: each is a register of bytes and two of 16 bits."""
        return self.level.registers

    def fits(self, rows: int, vectors: int) -> bool:
        """Whether sums, bytes, the rows' tables, a vector's places and what is looked up all have registers."""
        held, side = self.held(rows, vectors), self.lanes // BYTES
        return held + held // 2 + rows + side + TEMPORARIES <= self.level.registers

    def part(self, channels: int) -> Dot:
        """The multiply-add for tiles that need no more than the first channels of a weight vector."""
        return replace(self, lanes=round_up(channels, BYTES))

    def loads(self, rows: int, vectors: int) -> float:
        """Instructions of a step besides the look-ups, in units of which a register of channels counts four."""
        return 2 * (-(-rows // MOST) + vectors * -(-self.lanes // (BYTES * MOST)))

    def held(self, rows: int, vectors: int) -> int:
        """Registers of 16-bit sums."""
        return self.slots(rows, vectors) // 2

    def multiply(self, tile: Tile) -> None:
        """Write tile.acc = the tile's products over all steps."""
        each = BLOCKS * self.depth
        whole, rest = divmod(tile.groups, each)
        with T.sblock("sums"):
            T.reads()
            T.writes()
            sums = Registers(self.held(tile.rows, tile.vectors), 8, "int16")
            tile.acc.clear()
            if whole:
                with T.serial(0, whole) as part:
                    self._part(tile, sums, part * each, each)
            if rest:
                self._part(tile, sums, whole * each, rest)

    def _part(self, tile: Tile, sums: Registers, first: Expr | int, steps: int) -> None:
        """Add steps in 16 bits, then widen them."""
        held = self.held(tile.rows, tile.vectors)
        self._run(tile, sums, first, steps, [], list(range(held)))
        for slot, half in itertools.product(range(held), range(2)):
            wide = T.Cast("int32x4", pick([sums.load(slot)], list(range(4 * half, 4 * half + 4))))
            tile.acc.store(2 * slot + half, tile.acc.load(2 * slot + half) + wide)

    def step(self, loop: Loop, a: str, weights: list[str], count: int) -> Iterator[str]:
        """Lines of one block of steps along K."""
        held, side = self.held(loop.rows, loop.vectors), self.lanes // BYTES
        top = self.level.registers - loop.rows
        low, free = top - side, top - side - TEMPORARIES
        for j in range(count):
            yield from registers(a, top, loop.rows, loop.a_stride)
            for vector, address in enumerate(weights):
                yield from registers(address, low, side, loop.w_stride)
                places = itertools.product(range(side), range(loop.rows))
                at = [(row, (row * loop.vectors + vector) * side + part, part) for part, row in places]
                for some in (at[i : i + TEMPORARIES] for i in range(0, len(at), TEMPORARIES)):
                    found = [free + i if j else held + slot for i, (_, slot, _) in enumerate(some)]
                    for place, (row, _, part) in zip(found, some, strict=True):
                        yield f"tbl v{place}.16b, {{ v{top + row}.16b }}, v{low + part}.16b"
                    if j:
                        for place, (_, slot, _) in zip(found, some, strict=True):
                            yield f"add v{held + slot}.16b, v{held + slot}.16b, v{place}.16b"
        for slot in range(held // 2):
            yield f"ssubw v{2 * slot}.8h, v{2 * slot}.8h, v{held + slot}.8b"
            yield f"ssubw2 v{2 * slot + 1}.8h, v{2 * slot + 1}.8h, v{held + slot}.16b"


def lay_out_tables(panel: Any, tile: Expr | int, source: Any, row: Expr, column: Expr | int, rows: int, depth: int) -> None:
    """panel[tile, p, 16 r + i] = -(w0 * a0 + w1 * a1), w0 = i % 4 - 2, w1 = i // 4 - 2, of the inputs a0, a1 =
    source[row + r, column + 2 p ..] of every row r < rows; an input that is not there counts as 0.
    """
    place = T.ramp(tirx.const(0, "int8"), tirx.const(1, "int8"), BYTES)
    two, three = (T.broadcast(tirx.const(value, "int8"), BYTES) for value in (2, 3))
    factors = two - T.bitwise_and(place, three), two - T.shift_right(place, two)

    def put(r: int, pair: Expr, inputs: list[Expr]) -> None:
        first, second = (factor * T.broadcast(code, BYTES) for factor, code in zip(factors, inputs, strict=True))
        T.buffer_store(panel, first + second, [tile, pair, T.ramp(r * BYTES, 1, BYTES)])

    for r in range(rows):
        with T.serial(0, depth // BYTES) as block:
            codes = T.Bind(source.vload([row + r, column + block * BYTES], f"int8x{BYTES}"))
            for j in range(BYTES // 2):
                put(r, block * (BYTES // 2) + j, [pick([codes], [2 * j + i]) for i in range(2)])
        with T.serial(depth // BYTES * (BYTES // 2), depth // 2) as pair:
            put(r, pair, [source[row + r, column + 2 * pair + i] for i in range(2)])
        if depth % 2:
            put(r, tirx.const(depth // 2, "int32"), [source[row + r, column + depth - 1], tirx.const(0, "int8")])
