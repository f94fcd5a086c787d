"""Arm dot product (Armv8.2 FEAT_DotProd): `sdot` adds four products of signed bytes into each int32 lane."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from lampq_tvm.kernels.isa.arm import Dotting
from lampq_tvm.kernels.isa.assembly import MOST, Assembled, Loop, registers
from lampq_tvm.kernels.isa.dot import Dot
from lampq_tvm.kernels.isa.level import emits


class Sdot(Assembled):
    """Four channels a register of weights; rows' inputs of two steps are read together and taken lane by lane."""

    @property
    def step_block(self) -> int:
        """Steps of a panel are padded to a multiple of it."""
        return 2

    def loads(self, rows: int, vectors: int) -> float:
        """Instructions of a step besides the multiply-adds."""
        return -(-self.panel_rows(rows) // (2 * MOST)) / 2 + vectors * -(-self.lanes // (4 * MOST))

    def step(self, loop: Loop, a: str, weights: list[str], count: int) -> Iterator[str]:
        """Lines of one step along K, or two."""
        each, side = loop.a_stride // 4, self.lanes // 4
        held = -(-count * each // 4)
        top, low = self.level.registers - held, self.slots(loop.rows, loop.vectors)
        yield from registers(a, top, held, count * loop.a_stride)
        for j, (vector, address) in itertools.product(range(count), enumerate(weights)):
            yield from registers(address, low, side, loop.w_stride)
            for part, row in itertools.product(range(side), range(loop.rows)):
                register, lane = divmod(j * each + row, 4)
                slot = (row * loop.vectors + vector) * side + part
                yield f"sdot v{slot}.4s, v{low + part}.16b, v{top + register}.4b[{lane}]"


@emits("dotprod")
class DotprodLevel(Dotting):
    """Armv8.2 with dot product."""

    def dot(self, w_peak: int, a_bits: int, side: int = 1) -> Dot:
        """The same instruction for all widths: fewer bits are not faster here."""
        level = self.data
        return Sdot(f"dotprod_s8s8_{side}", level.lanes * side, level.group, level.operand, shift=0, level=level)
