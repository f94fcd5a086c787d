"""Plain NEON at few bits: `mla` adds products of bytes in bytes, `sadalp` adds pairs of those into 16 bits.

A byte holds `depth` products exactly: 2 where the widths add up to 8 bits, 4 at 7, 8 at 6. The activation is stored with its
sign turned: -8 * -8 twice is 128 and leaves int8, 8 * -8 twice is -128 and does not.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.isa.dot import Tile
from lampq_tvm.kernels.isa.sixteens import CHANNELS, Place, Sixteens, across
from lampq_tvm.kernels.registers import Registers

DEEPEST = 8
BLOCKS = 127  # of `depth` steps: each adds at most 256 to a 16-bit lane


@dataclass(frozen=True)
class Mla(Sixteens):
    """Products added in bytes, those in 16 bits.

    Attributes:
        depth: products that a byte adds before it is widened: steps.
    """

    depth: int

    @property
    def negate(self) -> bool:
        """Activations are stored with their sign turned."""
        return True

    @property
    def block(self) -> int:
        """Steps after which narrow sums are widened."""
        return self.depth

    def multiplies(self, rows: int, vectors: int) -> float:
        """Multiply-adds of a step, widening included."""
        return CHANNELS * self.slots(rows, vectors) * (1 + 1 / self.depth)

    def added(self, place: Place, narrow: int, *, fresh: bool) -> list[str]:
        """Sixteen products."""
        _, row, channel = place
        return [f"{'mul' if fresh else 'mla'} v{narrow}.16b, v{row}.16b, v{channel}.16b"]

    def widened(self, slot: int, narrow: int) -> str:
        """Pairs of bytes into 16 bits."""
        return f"sadalp v{slot}.8h, v{narrow}.16b"

    def vector(self, tile: Tile) -> None:
        """Write tile.acc = the products of a tile of one weight vector: as many steps at once as 16 bits hold."""
        each = BLOCKS * self.depth
        whole, rest = divmod(tile.groups, each)
        sums = Registers(tile.rows, CHANNELS, "int32")
        tile.acc.clear()
        if whole:
            with T.serial(0, whole) as part:
                self._part(tile, sums, part * each, each)
        if rest:
            self._part(tile, sums, tirx.const(whole * each, "int32"), rest)

    def _part(self, tile: Tile, sums: Registers, first: Expr, steps: int) -> None:
        """Subtract some steps' sums: the activations' sign is turned."""
        lines, places = across(tile.rows)
        widened = [f"saddlp v{slot}.4s, v{slot}.8h" for slot in range(CHANNELS * tile.rows)]
        self._run(tile, sums, first, steps, [*widened, *lines], places)
        for row in range(tile.rows):
            tile.acc.store(row, tile.acc.load(row) - sums.load(row))
