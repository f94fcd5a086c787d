"""Arm matrix multiply (Armv8.6 FEAT_I8MM): `smmla` multiplies two rows of eight inputs with two channels of eight weights.

An accumulator register holds a 2 x 2 block of sums: row 0 of channels 0 and 1, then row 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from lampq_tvm.kernels.isa.arm import Dotting
from lampq_tvm.kernels.isa.assembly import BYTES, MOST, Assembled, Loop, registers
from lampq_tvm.kernels.isa.dot import Dot
from lampq_tvm.kernels.isa.level import emits


@dataclass(frozen=True)
class Smmla(Assembled):
    """Two channels a register of weights.

    Attributes:
        mnemonic: the instruction: `smmla`, or `usmmla` for unsigned inputs.
    """

    mnemonic: str = "smmla"

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
        top, low = self.level.registers - held, self.slots(loop.rows, loop.vectors)
        yield from registers(a, top, held, loop.a_stride)
        for vector, address in enumerate(weights):
            for first in range(0, side, MOST):
                size = min(MOST, side - first)
                yield from registers(address, low, size, loop.w_stride - BYTES * first if first + size == side else 0)
                for part, pair in itertools.product(range(size), range(pairs)):
                    slot = (pair * loop.vectors + vector) * side + first + part
                    yield f"{self.mnemonic} v{slot}.4s, v{top + pair}.16b, v{low + part}.16b"

    def turned(self, rows: int, vectors: int) -> tuple[list[str], list[int]]:
        """Lines that turn two blocks of two rows into a register of each row."""
        side, free = self.lanes // 2, self.slots(rows, vectors)
        lines, found = [], dict[tuple[int, int, int], int]()
        for pair, vector, part in itertools.product(range(self.panel_rows(rows) // 2), range(vectors), range(0, side, 2)):
            left = (pair * vectors + vector) * side + part
            right = left + 1
            lines += [f"zip1 v{free}.2d, v{left}.2d, v{right}.2d", f"zip2 v{right}.2d, v{left}.2d, v{right}.2d"]
            found[2 * pair, vector, part], found[2 * pair + 1, vector, part] = free, right
            free = left
        return lines, [found[place] for place in sorted(found)]


@emits("i8mm")
class I8mmLevel(Dotting):
    """Armv8.6 with int8 matrix multiply."""

    def dot(self, w_peak: int, a_bits: int, side: int = 1) -> Dot:
        """The same instruction for all widths: fewer bits are not faster here."""
        level = self.data
        return Smmla(f"i8mm_s8s8_{side}", level.lanes * side, level.group, level.operand, shift=0, level=level)

    def unsigned_dot(self, w_peak: int, side: int = 1) -> Dot:
        """`usmmla`."""
        level, name = self.data, f"i8mm_u8s8_{side}"
        return Smmla(name, level.lanes * side, level.group, "uint8", shift=0, mnemonic="usmmla", level=level)
