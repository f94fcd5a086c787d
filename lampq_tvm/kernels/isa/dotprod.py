"""Arm dot product (Armv8.2 FEAT_DotProd): `sdot` adds four products of signed bytes into each int32 lane."""

from __future__ import annotations

from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import llvm, load, pick, splat, store
from lampq_tvm.kernels.isa.arm import Arm, Quads
from lampq_tvm.kernels.isa.dot import Dot, Simple, Tile


def repeated(tile: Tile, k: Expr) -> list[Expr]:
    """Each row's four inputs repeated over a register: `dup`, or the lane operand of an instruction that takes one."""
    if tile.rows == 1:
        return [splat(T.reinterpret(tile.a(k, 0, 1), dtype="int32"), 4, "int8x16")]
    fours = [T.reinterpret(tile.a(k, row, 4), dtype="int32x4") for row in range(0, tile.rows, 4)]
    return [splat(pick([fours[row // 4]], [row % 4]), 4, "int8x16") for row in range(tile.rows)]


class Sdot(Quads, Simple):
    """Four channels a register of weights; four rows' inputs in one load, taken lane by lane."""

    @property
    def unroll(self) -> int:
        """Steps along K that are written out unless tuning finds better."""
        return 8

    def loads(self, rows: int, vectors: int) -> float:
        """Instructions of a step besides the multiply-adds."""
        return rows / 4 + vectors * self.lanes / 4

    def step(self, tile: Tile, k: Expr) -> None:
        """Write one step along K."""
        side = self.lanes // 4
        weights = [tile.weights(vector, k, 16 * i, 16) for vector in range(tile.vectors) for i in range(side)]
        for row, inputs in enumerate(repeated(tile, k)):
            for column, weight in enumerate(weights):
                slot = row * len(weights) + column
                value = llvm("llvm.aarch64.neon.sdot.v4i32.v16i8", "int32x4", load(tile.acc, slot, 4), weight, inputs)
                store(tile.acc, slot, value, 4)


class DotprodLevel(Arm):
    """Armv8.2 with dot product."""

    side = 3

    def dot(self, w_peak: int, a_bits: int, side: int = 1) -> Dot:
        """The same instruction for all widths: fewer bits are not faster here."""
        return Sdot(f"dotprod_s8s8_{side}", lanes=4 * side, group=4, a_dtype="int8", shift=0)
