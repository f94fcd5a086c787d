"""AVX2: `vpmaddwd` on bytes widened to 16 bits, or `vpmaddubsw` where its 16-bit pair sums cannot saturate.

`vpmaddubsw` adds two products of unsigned by signed bytes with saturation: 2 * 255 * 128 does not fit, so 8/8 takes
the wider instruction; from 8/7 or 7/8 bits down the sums fit and several of them are widened at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import llvm, splat, steps
from lampq_tvm.kernels.isa.dot import Dot, Simple, Tile, words
from lampq_tvm.kernels.isa.level import emits
from lampq_tvm.kernels.isa.x86 import X86Level

MAX_DEPTH = 16
SELDOM = 8  # steps of a block from which on int32 sums may as well lie in memory
BESIDE, TOTALS = 6, 12  # 16-bit totals that registers hold with as many int32 sums beside them, and without


class Wide(Simple):
    """16-bit activations by bytes widened on the way, or before."""

    @property
    def weight_dtype(self) -> str:
        """Type that a weight is multiplied in."""
        return "int16"

    def multiplies(self, rows: int, vectors: int) -> float:
        """Multiply-adds of a step, additions and widened weights included."""
        return 2 * self.slots(rows, vectors) + vectors

    def step(self, tile: Tile, k: Expr) -> None:
        """Write one step along K."""
        rows = words(tile, k)
        for vector in range(tile.vectors):
            weights = T.Bind(T.Cast("int16x16", tile.weights[vector].read(k, 0, 16)))
            for row, word in enumerate(rows):
                slot = row * tile.vectors + vector
                product = llvm("llvm.x86.avx2.pmadd.wd", "int32x8", splat(word, 8, "int16x16"), weights)
                tile.acc.store(slot, tile.acc.load(slot) + product)


@dataclass(frozen=True)
class Narrow(Dot):
    """Unsigned by signed bytes, `depth` pair sums added in 16 bits before they are widened."""

    depth: int

    @property
    def accumulators(self) -> int:
        """Accumulator registers of a tile: beside as many 16-bit totals, or in memory where they are touched seldom."""
        return self.level.accumulators if self.depth == 1 else BESIDE if self.depth < SELDOM else TOTALS

    def loads(self, rows: int, vectors: int) -> float:
        """Instructions of a step besides the multiply-adds: what registers cannot hold, totals, weights, a row's inputs and a
        product, is stored and loaded."""
        lacking = rows * vectors + vectors + 2 - self.level.registers
        return rows + vectors + 2 * max(0, lacking)

    def multiply(self, tile: Tile) -> None:
        """Write tile.acc = the tile's products over all steps."""
        tile.acc.clear()
        whole = tile.groups // self.depth
        for block in steps(whole, 1):
            self._block(tile, block * self.depth, self.depth)
        if tile.groups % self.depth:
            self._block(tile, tirx.const(whole * self.depth, "int32"), tile.groups % self.depth)

    def _block(self, tile: Tile, first: Expr, depth: int) -> None:
        """Add `depth` steps in 16 bits, each weight and each row's inputs loaded once, then widen."""
        ones, slots = T.broadcast(tirx.const(1, "int16"), 16), tile.rows * tile.vectors
        totals: list[Expr | None] = [None] * slots
        for j in range(depth):
            weights = [T.Bind(vector.read(first + j, 0, 32)) for vector in tile.weights]
            for row, word in enumerate(words(tile, first + j)):
                factor = T.Bind(splat(word, 8, "int8x32"))
                for vector, weight in enumerate(weights):
                    slot = row * tile.vectors + vector
                    product, total = llvm("llvm.x86.avx2.pmadd.ub.sw", "int16x16", factor, weight), totals[slot]
                    totals[slot] = T.Bind(product if total is None else total + product)
        for slot, total in enumerate(totals):
            added = llvm("llvm.x86.avx2.pmadd.wd", "int32x8", total, ones)
            tile.acc.store(slot, tile.acc.load(slot) + added)


@emits("avx2")
class Avx2Level(X86Level):
    """AVX2 with FMA."""

    def dot(self, w_peak: int, a_bits: int, side: int = 1) -> Dot:
        """The narrow multiply-add where a pair of products stays below 2^15, else the wide one."""
        level, pair = self.data, 2 * ((1 << a_bits) - 1) * w_peak
        if pair > 32767:
            return Wide("avx2_s16s8", level.lanes, level.group // 2, "int16", shift=0, level=level)
        depth, shift = min(MAX_DEPTH, 32767 // pair), 1 << (a_bits - 1)
        name = f"avx2_u8s8_{depth}_{shift}"
        return Narrow(name, level.lanes, level.group, level.operand, shift=shift, depth=depth, level=level)

    def to_ints(self, value: Expr) -> Expr:
        """rne(v) as int32; what leaves it becomes its lowest number."""
        return llvm("llvm.x86.avx.cvt.ps2dq.256", "int32x8", value)
