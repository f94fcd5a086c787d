"""Float sums in the arithmetic table's order: 32 strided lanes, then halves added 16, 8, 4, 2, 1."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr

from lampq_tvm.kernels.emit import pick, steps
from lampq_tvm.kernels.isa.level import Level
from lampq_tvm.kernels.registers import Registers

LANES = 32
Add = Callable[[Expr, int, int, Expr], Expr]  # (first channel, lanes, number of the sum, sum so far) to the sum


@dataclass(frozen=True)
class StridedSums:
    """Sums over `channels`, `count` of them side by side.

    Attributes:
        unroll: blocks of 32 channels that are written out.
    """

    level: Level
    channels: int
    count: int
    unroll: int = 1

    @property
    def slots(self) -> int:
        """Registers of one sum."""
        return LANES // self.level.lanes

    def allocate(self) -> Registers:
        """Their registers."""
        return Registers(self.count * self.slots, self.level.lanes, "float32")

    def add(self, sums: Registers, add: Add) -> None:
        """Lane l of each sum = channels l, l + 32, .. added up from zero."""
        lanes, whole = self.level.lanes, self.channels // LANES
        done = whole * LANES

        def vectors(c: Expr, slots: Iterable[int]) -> None:
            for number in range(self.count):
                for slot in slots:
                    at = number * self.slots + slot
                    sums.store(at, add(c + slot * lanes, lanes, number, sums.load(at)))

        sums.clear()
        for block in steps(whole, self.unroll):
            vectors(block * LANES, range(self.slots))
        vectors(tirx.const(done, "int32"), range((self.channels - done) // lanes))
        for c in range(self.channels // lanes * lanes, self.channels):
            slot, lane = divmod(c - done, lanes)
            for number in range(self.count):
                at = number * self.slots + slot
                sums.store_lane(at, lane, add(tirx.const(c, "int32"), 1, number, sums.load_lane(at, lane)))

    def across(self, sums: Registers, number: int) -> Expr:
        """All lanes of a sum, halves added."""
        lanes = self.level.lanes
        values = [sums.load(number * self.slots + slot) for slot in range(self.slots)]
        while len(values) > 1:
            half = len(values) // 2
            values = [a + b for a, b in zip(values[:half], values[half:], strict=True)]
        total = values[0]
        while lanes > 1:
            lanes //= 2
            total = pick([total], list(range(lanes))) + pick([total], list(range(lanes, 2 * lanes)))
        return total
