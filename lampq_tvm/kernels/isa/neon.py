"""Plain NEON (no dot product): `smull` and `smlal` multiply into 16 bits, `sadalp` adds pairs into int32 lanes.

A 16-bit lane holds `depth` products exactly: 1 at 8/8 (-128 * -128 = 16384, twice that leaves int16), 2 where weights of
8 bits avoid -128, 31 at 4/8, 127 at 4/6. So fewer bits really are faster: `sadalp` runs once per `depth` multiplications.
Fewer still are added in bytes (`mla.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import clear, llvm, load, pick, steps, store
from lampq_tvm.kernels.isa.arm import Arm
from lampq_tvm.kernels.isa.dot import Dot, Tile
from lampq_tvm.kernels.isa.dotprod import repeated
from lampq_tvm.kernels.isa.mla import DEEPEST, Mla

SHALLOW = 4  # steps up to which 16-bit sums are widened one accumulator after the other


@dataclass(frozen=True)
class Smlal(Dot):
    """Two channels a register of sums: each int32 lane holds half of a channel's sum.

    Attributes:
        depth: products that a 16-bit lane adds before it is widened.
    """

    depth: int

    @property
    def row_block(self) -> int:
        """Rows of a panel are padded to a multiple of it."""
        return 4

    @property
    def accumulators(self) -> int:
        """Accumulator registers that fit beside weights and activations."""
        return 18 if self.depth <= SHALLOW else 24  # LLVM keeps some registers for the sums of few steps

    @property
    def unroll(self) -> int:
        """Steps along K, or short 16-bit sums, that are written out: over more LLVM runs out of registers."""
        return 4 if self.depth <= SHALLOW else 1

    @property
    def acc_lanes(self) -> int:
        """int32 lanes of an accumulator register."""
        return 4

    def slots(self, rows: int, vectors: int) -> int:
        """Accumulator registers of a tile."""
        return 2 * rows * vectors * self.lanes // 4

    def loads(self, rows: int, vectors: int) -> float:
        """Instructions of a step besides the multiply-adds."""
        return 1.25 * rows + vectors * self.lanes / 4

    def multiply(self, tile: Tile) -> None:
        """Write tile.acc = the tile's products over all steps."""
        slots = self.slots(tile.rows, tile.vectors)
        clear(tile.acc, slots, 4)
        depth = -(-tile.groups // -(-tile.groups // self.depth))  # as few parts as can be, as equal as can be
        with T.sblock("sums"):
            T.reads()
            T.writes()
            sums = T.sblock_alloc_buffer((slots, 8), "int16")
            block = self._shallow if depth <= SHALLOW else self._deep
            for number in steps(tile.groups // depth, tile.unroll if depth <= SHALLOW else 1):
                block(tile, sums, number * depth, depth)
            if rest := tile.groups % depth:
                block(tile, sums, tirx.const(tile.groups - rest, "int32"), rest)

    def _shallow(self, tile: Tile, sums: object, first: Expr, depth: int) -> None:
        """Add `depth` steps in 16 bits and widen, accumulator by accumulator: their sums live only for a moment."""
        inputs = [repeated(tile, first + j) for j in range(depth)]
        for slot, row, vector, part in sorted(self._order(tile), key=lambda at: (at[2:], at[1])):
            for j in range(depth):
                self._add(sums, slot, inputs[j][row], tile.weights(vector, first + j, 8 * part, 8), fresh=j == 0)
            self._widen(tile, sums, slot)

    def _deep(self, tile: Tile, sums: object, first: Expr, depth: int) -> None:
        """Add `depth` steps in 16 bits, step by step, then widen."""
        self._step(tile, sums, first, fresh=True)
        for j in steps(depth - 1, min(tile.unroll, max(depth - 1, 1))):
            self._step(tile, sums, first + 1 + j, fresh=False)
        for slot in range(self.slots(tile.rows, tile.vectors)):
            self._widen(tile, sums, slot)

    def _step(self, tile: Tile, sums: object, k: Expr, *, fresh: bool) -> None:
        inputs = repeated(tile, k)
        for slot, row, vector, part in self._order(tile):
            self._add(sums, slot, inputs[row], tile.weights(vector, k, 8 * part, 8), fresh=fresh)

    def _order(self, tile: Tile) -> Iterator[tuple[int, int, int, int]]:
        """(accumulator, row, vector, eight bytes of the vector), row by row."""
        places = itertools.product(range(tile.rows), range(tile.vectors), range(self.lanes // 2))
        return ((slot, *place) for slot, place in enumerate(places))

    def _add(self, sums: object, slot: int, inputs: Expr, weights: Expr, *, fresh: bool) -> None:
        product = llvm("llvm.aarch64.neon.smull.v8i16", "int16x8", pick([inputs], list(range(8))), weights)
        store(sums, slot, product if fresh else load(sums, slot, 8) + product, 8)

    def _widen(self, tile: Tile, sums: object, slot: int) -> None:
        pairs = llvm("llvm.aarch64.neon.saddlp.v4i32.v8i16", "int32x4", load(sums, slot, 8))
        store(tile.acc, slot, load(tile.acc, slot, 4) + pairs, 4)

    def read(self, tile: Tile, row: int, vector: int) -> list[Expr]:
        """A row's sums for the channels of a weight vector: registers of int32 [4]."""
        first = (row * tile.vectors + vector) * self.lanes // 2
        halves = [load(tile.acc, slot, 4) for slot in range(first, first + self.lanes // 2)]
        return [llvm("llvm.aarch64.neon.addp.v4i32", "int32x4", *pair) for pair in zip(halves[::2], halves[1::2], strict=True)]


class NeonLevel(Arm):
    """Armv8.0."""

    side = 3

    def dot(self, w_peak: int, a_bits: int, side: int = 1) -> Dot:
        """A multiply-add whose 16-bit sums are as deep as the widths allow."""
        bytes_depth = 128 // (w_peak << (a_bits - 1))
        if bytes_depth >= 2:
            deep = min(bytes_depth, DEEPEST)
            return Mla(f"neon_mla_{deep}_{side}", lanes=4 * side, group=4, a_dtype="int8", shift=0, depth=deep)
        depth = 32767 // (w_peak << (a_bits - 1))
        return Smlal(f"neon_s8s8_{depth}_{side}", lanes=4 * side, group=4, a_dtype="int8", shift=0, depth=depth)
