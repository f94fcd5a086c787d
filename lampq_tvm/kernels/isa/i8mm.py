"""Arm matrix multiply (Armv8.6 FEAT_I8MM): `smmla` multiplies two rows of eight inputs with two channels of eight weights.

An accumulator register holds a 2 x 2 block of sums: row 0 of channels 0 and 1, then row 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tvm.ir import Expr

from lampq_tvm.kernels.emit import load, pick
from lampq_tvm.kernels.isa.arm import Arm
from lampq_tvm.kernels.isa.assembly import BYTES, MOST, REGISTERS, Assembled, Loop, registers
from lampq_tvm.kernels.isa.dot import Dot, Tile


class Smmla(Assembled):
    """Two channels a register of weights."""

    @property
    def unroll(self) -> int:
        """Steps along K that are written out unless tuning finds better."""
        return 8

    @property
    def row_block(self) -> int:
        """Rows of a panel are padded to a multiple of it."""
        return 2

    def slots(self, rows: int, vectors: int) -> int:
        """Accumulator registers of a tile."""
        return self.panel_rows(rows) * vectors * self.lanes // 4

    def loads(self, rows: int, vectors: int) -> float:
        """Instructions of a step besides the multiply-adds."""
        return -(-self.panel_rows(rows) // (2 * MOST)) + vectors * -(-self.lanes // (2 * MOST))

    def step(self, loop: Loop, a: str, weights: list[str], count: int) -> Iterator[str]:
        """Lines of one step along K."""
        pairs, side = self.panel_rows(loop.rows) // 2, self.lanes // 2
        held = loop.a_stride // BYTES
        top, low = REGISTERS - held, self.slots(loop.rows, loop.vectors)
        yield from registers(a, top, held, loop.a_stride)
        for vector, address in enumerate(weights):
            for first in range(0, side, MOST):
                size = min(MOST, side - first)
                yield from registers(address, low, size, loop.w_stride - BYTES * first if first + size == side else 0)
                for part, pair in itertools.product(range(size), range(pairs)):
                    slot = (pair * loop.vectors + vector) * side + first + part
                    yield f"smmla ${slot}.4s, v{top + pair}.16b, v{low + part}.16b"

    def read(self, tile: Tile, row: int, vector: int) -> list[Expr]:
        """A row's sums for the channels of a weight vector: registers of int32 [4]."""
        first = (row // 2 * tile.vectors + vector) * self.lanes // 2
        lanes = [0, 1, 4, 5] if row % 2 == 0 else [2, 3, 6, 7]
        blocks = [load(tile.acc, slot, 4) for slot in range(first, first + self.lanes // 2)]
        return [pick([a, b], lanes) for a, b in zip(blocks[::2], blocks[1::2], strict=True)]


class I8mmLevel(Arm):
    """Armv8.6 with int8 matrix multiply."""

    side = head_side = 4

    def dot(self, w_peak: int, a_bits: int, side: int = 1) -> Dot:
        """The same instruction for all widths: fewer bits are not faster here."""
        return Smmla(f"i8mm_s8s8_{side}", lanes=4 * side, group=8, a_dtype="int8", shift=0)
