"""Plain NEON (no dot product): `smull` and `smlal` multiply into 16 bits, `sadalp` adds pairs into int32 lanes.

A 16-bit lane holds `depth` products exactly: 1 where both take -128 (-128 * -128 = 16384, twice that leaves int16), 2 where
weights of 8 bits avoid it, more at fewer bits. So fewer bits really are faster: `sadalp` runs once per `depth` multiplications.
Fewer still are added in bytes (`mla.py`), and weights of 2 bits are looked up (`tables.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from lampq_tvm.kernels.isa.arm import Arm
from lampq_tvm.kernels.isa.assembly import BYTES
from lampq_tvm.kernels.isa.dot import Dot, Tile
from lampq_tvm.kernels.isa.level import emits
from lampq_tvm.kernels.isa.mla import DEEPEST, Mla
from lampq_tvm.kernels.isa.sixteens import CHANNELS, INPUTS, Place, Sixteens, across
from lampq_tvm.kernels.isa.tables import Tables, depth_of

DEEPEST_LONG = 16  # products: more gain nothing


@dataclass(frozen=True)
class Smlal(Sixteens):
    """Products added in 16 bits.

    Attributes:
        depth: products that a 16-bit lane adds before it is widened, one or an even number: a step has two for it.
    """

    depth: int

    @property
    def block(self) -> int:
        """Steps after which narrow sums are widened."""
        return max(1, self.depth // 2)

    def multiplies(self, rows: int, vectors: int) -> float:
        """Multiply-adds of a step, widening included."""
        return CHANNELS * self.slots(rows, vectors) * (2 + 2 / self.depth)

    def added(self, place: Place, narrow: int, *, fresh: bool) -> list[str]:
        """The low halves' products, then the high ones'."""
        slot, row, channel = place
        n, wide, first = f"v{narrow}.8h", self.widened(slot, narrow), "smull" if fresh else "smlal"
        low, high = (f"{n}, v{row}.{size}, v{channel}.{size}" for size in ("8b", "16b"))
        if self.depth == 1:
            return [f"smull {low}", wide, f"smull2 {high}", wide]
        return [f"{first} {low}", f"smlal2 {high}", *([] if self.beside else [wide])]

    def widened(self, slot: int, narrow: int) -> str:
        """Pairs of lanes into int32."""
        return f"sadalp v{slot}.4s, v{narrow}.8h"

    def vector(self, tile: Tile) -> None:
        """Write tile.acc = the products of a tile of one weight vector."""
        self._run(tile, tile.acc, 0, tile.groups, *across(tile.rows))


@emits("neon")
class NeonLevel(Arm):
    """Armv8.0."""

    def weight_dot(self, w_peak: int, a_bits: int) -> Dot:
        """Look-ups for weights of 2 bits, where bytes hold what a pair of them makes of a pair of activations."""
        if w_peak == 2 and (depth := depth_of(a_bits)):
            return Tables(f"neon_tbl_{depth}_2", 2 * BYTES, 2, self.data.operand, shift=0, depth=depth, level=self.data)
        return self.dot(w_peak, a_bits, self.data.side)

    def dot(self, w_peak: int, a_bits: int, side: int = 1) -> Dot:
        """A multiply-add whose narrow sums are as deep as the widths allow."""
        level, largest = self.data, w_peak << (a_bits - 1)
        layout = CHANNELS, INPUTS, level.operand
        if (deep := min(128 // largest, DEEPEST)) >= 2:
            return Mla(f"neon_mla_{deep}", *layout, shift=0, depth=deep, level=level)
        depth = max(1, min(DEEPEST_LONG, 32767 // largest) // 2 * 2)
        return Smlal(f"neon_s8s8_{depth}", *layout, shift=0, depth=depth, level=level)
