"""Arm matrix multiply (Armv8.6 FEAT_I8MM): `smmla` multiplies two rows of eight inputs with two channels of eight weights.

An accumulator register holds a 2 x 2 block of sums: row 0 of channels 0 and 1, then row 1.
"""

from __future__ import annotations

from tvm.ir import Expr

from lampq_tvm.kernels.emit import llvm, load, pick, store
from lampq_tvm.kernels.isa.arm import Arm, Quads
from lampq_tvm.kernels.isa.dot import Dot, Simple, Tile


class Smmla(Quads, Simple):
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
        return rows / 2 + vectors * self.lanes / 2

    def step(self, tile: Tile, k: Expr) -> None:
        """Write one step along K."""
        weights = [tile.weights(v, k, 16 * c, 16) for v in range(tile.vectors) for c in range(self.lanes // 2)]
        for pair in range(self.panel_rows(tile.rows) // 2):
            inputs = tile.a(k, 2 * pair, 2)
            for column, weight in enumerate(weights):
                slot = pair * len(weights) + column
                value = llvm("llvm.aarch64.neon.smmla.v4i32.v16i8", "int32x4", load(tile.acc, slot, 4), inputs, weight)
                store(tile.acc, slot, value, 4)

    def read(self, tile: Tile, row: int, vector: int) -> list[Expr]:
        """A row's sums for the channels of a weight vector: registers of int32 [4]."""
        first = (row // 2 * tile.vectors + vector) * self.lanes // 2
        lanes = [0, 1, 4, 5] if row % 2 == 0 else [2, 3, 6, 7]
        blocks = [load(tile.acc, slot, 4) for slot in range(first, first + self.lanes // 2)]
        return [pick([a, b], lanes) for a, b in zip(blocks[::2], blocks[1::2], strict=True)]


class I8mmLevel(Arm):
    """Armv8.6 with int8 matrix multiply."""

    side = 3

    def dot(self, w_peak: int, a_bits: int, side: int = 1) -> Dot:
        """The same instruction for all widths: fewer bits are not faster here."""
        return Smmla(f"i8mm_s8s8_{side}", lanes=4 * side, group=8, a_dtype="int8", shift=0)
