"""Plain NEON at few bits: `mla` adds products of bytes in bytes, `sadalp` adds pairs of those into 16 bits.

A byte holds `depth` products exactly: 2 where the widths add up to 8 bits, 4 at 7, 8 at 6. The activation is stored with its
sign turned: -8 * -8 twice is 128 and leaves int8, 8 * -8 twice is -128 and does not.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import llvm, steps
from lampq_tvm.kernels.isa.arm import Quads, repeated
from lampq_tvm.kernels.isa.dot import Tile
from lampq_tvm.kernels.registers import Registers

DEEPEST = 8
BLOCKS = 127  # of `depth` steps: each adds at most 256 to a 16-bit lane, and one more for the steps that are left over


@dataclass(frozen=True)
class Mla(Quads):
    """Four channels a register of weights and of sums.

    Attributes:
        depth: products that a byte adds before it is widened.
    """

    depth: int

    @property
    def negate(self) -> bool:
        """Activations are stored with their sign turned."""
        return True

    @property
    def accumulators(self) -> int:
        """Accumulator registers that fit beside weights and activations."""
        return 12

    @property
    def unroll(self) -> int:
        """Blocks of steps that are written out unless tuning finds better."""
        return 2 if self.depth == 2 else 1

    def loads(self, rows: int, vectors: int) -> float:
        """Instructions of a step besides the multiply-adds."""
        return 1.25 * rows + vectors * self.lanes / 4

    def multiply(self, tile: Tile) -> None:
        """Write tile.acc = the tile's products over all steps."""
        slots, blocks = self.slots(tile.rows, tile.vectors), tile.groups // self.depth
        tile.acc.clear()
        with T.sblock("sums"):
            T.reads()
            T.writes()
            sums = Registers(slots, 8, "int16")
            parts = -(-blocks // BLOCKS)
            for part in steps(parts, 1):
                self._part(tile, sums, part * BLOCKS, min(blocks, BLOCKS) if parts == 1 else BLOCKS, blocks)
            if not parts:
                self._part(tile, sums, tirx.const(0, "int32"), 0, 0)

    def _part(self, tile: Tile, sums: Registers, first: Expr, count: int, blocks: int) -> None:
        """Add blocks in 16 bits, then widen; the last part takes the steps that are left over, too."""
        slots = self.slots(tile.rows, tile.vectors)
        sums.clear()
        if count == blocks:
            for block in steps(count, tile.unroll):
                self._block(tile, sums, block * self.depth, self.depth)
            if rest := tile.groups % self.depth:
                self._block(tile, sums, tirx.const(tile.groups - rest, "int32"), rest)
        else:
            with T.serial(0, tirx.min(tirx.const(count, "int32"), blocks - first)) as block:
                self._block(tile, sums, (first + block) * self.depth, self.depth)
            if rest := tile.groups % self.depth:
                with T.serial(0, T.Cast("int32", first + count >= blocks)):
                    self._block(tile, sums, tirx.const(tile.groups - rest, "int32"), rest)
        for slot in range(slots):
            pairs = llvm("llvm.aarch64.neon.saddlp.v4i32.v8i16", "int32x4", sums.load(slot))
            tile.acc.store(slot, tile.acc.load(slot) - pairs)

    def _block(self, tile: Tile, sums: Registers, first: Expr, depth: int) -> None:
        """Add `depth` steps in bytes and widen: accumulator by accumulator where they are few, else step by step."""
        if depth <= 2:
            inputs = [repeated(tile, first + j) for j in range(depth)]
            for slot, row, vector, part in sorted(self.order(tile, self.lanes // 4), key=lambda at: (at[2:], at[1])):
                total = inputs[0][row] * tile.weights[vector].read(first, 16 * part, 16)
                for j in range(1, depth):
                    total = total + inputs[j][row] * tile.weights[vector].read(first + j, 16 * part, 16)
                self._widen(sums, slot, total)
            return
        with T.sblock("bytes"):
            T.reads()
            T.writes()
            bytes_ = Registers(self.slots(tile.rows, tile.vectors), 16, "int8")
            for j in range(depth):
                inputs = repeated(tile, first + j)
                for slot, row, vector, part in self.order(tile, self.lanes // 4):
                    product = inputs[row] * tile.weights[vector].read(first + j, 16 * part, 16)
                    bytes_.store(slot, product if j == 0 else bytes_.load(slot) + product)
            for slot, *_ in self.order(tile, self.lanes // 4):
                self._widen(sums, slot, bytes_.load(slot))

    def _widen(self, sums: Registers, slot: int, total: Expr) -> None:
        pairs = llvm("llvm.aarch64.neon.saddlp.v8i16.v16i8", "int16x8", total)
        sums.store(slot, sums.load(slot) + pairs)
