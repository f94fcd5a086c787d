"""Plain NEON (no dot product): `smull` and `smlal` multiply into 16 bits, `sadalp` adds pairs into int32 lanes.

A 16-bit lane holds `depth` products exactly: 1 at 8/8 (-128 * -128 = 16384, twice that leaves int16), 2 where weights of
8 bits avoid -128, more at fewer bits. So fewer bits really are faster: `sadalp` runs once per `depth` multiplications.
Fewer still are added in bytes (`mla.py`), and weights of 2 bits are looked up (`tables.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr

from lampq_tvm.kernels.emit import llvm, pick, steps
from lampq_tvm.kernels.isa.arm import Arm, Quads, repeated
from lampq_tvm.kernels.isa.assembly import BYTES
from lampq_tvm.kernels.isa.dot import Dot, Tile
from lampq_tvm.kernels.isa.level import emits
from lampq_tvm.kernels.isa.mla import DEEPEST, Mla
from lampq_tvm.kernels.isa.tables import Tables, depth_of

DEEPEST_LONG = 3  # products: over more, LLVM runs out of registers


@dataclass(frozen=True)
class Smlal(Quads):
    """Two channels a register of sums: each int32 lane holds half of a channel's sum.

    Attributes:
        depth: products that a 16-bit lane adds before it is widened.
    """

    depth: int

    @property
    def unroll(self) -> int:
        """Blocks of steps that are written out unless tuning finds better."""
        return 4

    def slots(self, rows: int, vectors: int) -> int:
        """Accumulator registers of a tile."""
        return 2 * rows * vectors * self.lanes // 4

    def loads(self, rows: int, vectors: int) -> float:
        """Instructions of a step besides the multiply-adds."""
        return 1.25 * rows + vectors * self.lanes / 4

    def multiply(self, tile: Tile) -> None:
        """Write tile.acc = the tile's products over all steps."""
        tile.acc.clear()
        for number in steps(tile.groups // self.depth, tile.unroll):
            self._block(tile, number * self.depth, self.depth)
        if rest := tile.groups % self.depth:
            self._block(tile, tirx.const(tile.groups - rest, "int32"), rest)

    def _block(self, tile: Tile, first: Expr, depth: int) -> None:
        """Add `depth` steps in 16 bits and widen, accumulator by accumulator: their sums live only for a moment."""
        inputs = [repeated(tile, first + j) for j in range(depth)]
        for slot, row, vector, part in sorted(self.order(tile, self.lanes // 2), key=lambda at: (at[2:], at[1])):
            total = None
            for j in range(depth):
                low = pick([inputs[j][row]], list(range(8)))
                product = llvm(
                    "llvm.aarch64.neon.smull.v8i16", "int16x8", low, tile.weights[vector].read(first + j, 8 * part, 8)
                )
                total = product if total is None else total + product
            pairs = llvm("llvm.aarch64.neon.saddlp.v4i32.v8i16", "int32x4", total)
            tile.acc.store(slot, tile.acc.load(slot) + pairs)

    def read(self, tile: Tile, row: int, vector: int) -> list[Expr]:
        """A row's sums for the channels of a weight vector: registers of int32 [4]."""
        first = (row * tile.vectors + vector) * self.lanes // 2
        halves = [tile.acc.load(slot) for slot in range(first, first + self.lanes // 2)]
        return [llvm("llvm.aarch64.neon.addp.v4i32", "int32x4", *pair) for pair in zip(halves[::2], halves[1::2], strict=True)]


@emits("neon")
class NeonLevel(Arm):
    """Armv8.0."""

    def weight_dot(self, w_peak: int, a_bits: int) -> Dot:
        """Look-ups for weights of 2 bits, where bytes hold what a pair of them makes of a pair of activations."""
        if w_peak == 2 and (depth := depth_of(a_bits)):
            return Tables(f"neon_tbl_{depth}_2", 2 * BYTES, 2, self.data.operand, shift=0, depth=depth, level=self.data)
        return self.dot(w_peak, a_bits, self.data.side)

    def dot(self, w_peak: int, a_bits: int, side: int = 1) -> Dot:
        """A multiply-add whose 16-bit sums are as deep as the widths allow."""
        level, bytes_depth = self.data, 128 // (w_peak << (a_bits - 1))
        layout = level.lanes * side, level.group, level.operand
        if bytes_depth >= 2:
            deep = min(bytes_depth, DEEPEST)
            return Mla(f"neon_mla_{deep}_{side}", *layout, shift=0, depth=deep, level=level)
        depth = min(DEEPEST_LONG, 32767 // (w_peak << (a_bits - 1)))
        return Smlal(f"neon_s8s8_{depth}_{side}", *layout, shift=0, depth=depth, level=level)
