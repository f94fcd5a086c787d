"""Plain NEON's register tiles: sixteen inputs of a row by sixteen of a channel, so that no input is repeated over a register.

Each sum is a register whose lanes hold parts of it, added up after the last step. Products are added in narrow lanes as often
as these hold them, and only then widened: where that is once a step the narrow sum lives for a moment, else every sum has a
narrow one beside it.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace

from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.isa.assembly import BYTES, MOST, Assembled, Loop, registers
from lampq_tvm.kernels.isa.dot import Dot, Tile
from lampq_tvm.kernels.registers import Registers

INPUTS = 16  # of a channel that lie side by side
CHANNELS = 4  # of a weight vector: a register each, and together one of int32 sums
MOMENTARY = 2  # narrow sums that live for a moment: what one of them waits for, another does meanwhile

Place = tuple[int, int, int]  # registers of a sum, of a row's inputs and of a channel's


class Sixteens(Assembled):
    """The loads of a tile, and which sums are added and widened when."""

    @property
    @abstractmethod
    def block(self) -> int:
        """Steps after which narrow sums are widened."""

    @property
    def row_block(self) -> int:
        """Rows of a panel are padded to a multiple of it."""
        return 1

    @property
    def step_block(self) -> int:
        """Steps of a panel are padded to a multiple of it."""
        return self.block

    @property
    def unroll(self) -> int:
        """Steps along K that are written out unless tuning finds better."""
        return 2 * self.block if self.block <= 2 else self.block

    @property
    def beside(self) -> bool:
        """Whether every sum has a narrow one beside it."""
        return self.block > 1

    @property
    def accumulators(self) -> int:
        """Registers of int32 sums that a tile may end with: of as many rows as `fits` and the vectors that go together."""
        return self.together * (3 if self.beside else 6)

    @property
    def together(self) -> int:
        """Weight vectors whose sums are best finished together: a register of codes."""
        return BYTES // CHANNELS

    def part(self, channels: int) -> Dot:
        """The multiply-add for tiles that need no more than the first channels of a weight vector: there are none."""
        return self

    def held(self, rows: int, vectors: int) -> int:
        """Registers that the sums of a weight vector take up while steps are added."""
        return CHANNELS * rows

    def _first(self, rows: int) -> int:
        """The first register that no sum takes up; the weights' are the next ones, the rows' the last."""
        return 2 * CHANNELS * rows if self.beside else CHANNELS * rows + MOMENTARY

    def _at_once(self, rows: int) -> int:
        """Rows whose inputs are loaded together."""
        return min(MOST, rows, self.level.registers - self._first(rows) - CHANNELS)

    def fits(self, rows: int, vectors: int) -> bool:
        """Whether a tile can be written at all: sums, weights and a row's inputs all have registers."""
        return self._at_once(rows) >= 1

    def loads(self, rows: int, vectors: int) -> float:
        """Instructions of a step besides the multiply-adds."""
        return vectors * (1 + -(-rows // max(1, self._at_once(rows))))

    def multiply(self, tile: Tile) -> None:
        """Write tile.acc = the tile's products over all steps."""
        for vector, weights in enumerate(tile.weights):
            with T.sblock("vector"):
                T.reads()
                T.writes()
                sums = Registers(tile.rows, CHANNELS, "int32")
                one = replace(tile, vectors=1, acc=sums, weights=[weights])
                self.vector(one)
                for row in range(tile.rows):
                    tile.acc.store(row * tile.vectors + vector, sums.load(row))

    @abstractmethod
    def vector(self, tile: Tile) -> None:
        """Write tile.acc = the products of a tile of one weight vector."""

    def step(self, loop: Loop, a: str, weights: list[str], count: int) -> Iterator[str]:
        """Lines of one block of steps along K."""
        (address,), rows = weights, loop.rows
        low, together = self._first(rows), self._at_once(rows)
        for j in range(count):
            yield from registers(address, low, CHANNELS, loop.w_stride)
            for first in range(0, rows, together):
                size = min(together, rows - first)
                top = self.level.registers - size
                yield from registers(a, top, size, loop.a_stride - BYTES * first if first + size == rows else 0)
                each = itertools.product(range(size), range(CHANNELS))
                places = [((first + row) * CHANNELS + channel, top + row, low + channel) for row, channel in each]
                yield from self._add(places, CHANNELS * rows, fresh=j == 0)
        if self.beside:
            yield from (self.widened(slot, CHANNELS * rows + slot) for slot in range(CHANNELS * rows))

    def _add(self, places: list[Place], held: int, *, fresh: bool) -> Iterator[str]:
        """Lines that add a step to some sums, some together."""
        for some in (places[i : i + MOMENTARY] for i in range(0, len(places), MOMENTARY)):
            each = [self.added(place, held + (place[0] if self.beside else i), fresh=fresh) for i, place in enumerate(some)]
            for lines in zip(*each, strict=True):
                yield from lines

    @abstractmethod
    def added(self, place: Place, narrow: int, *, fresh: bool) -> list[str]:
        """Lines that add a row's sixteen products with a channel to a sum: to the narrow one that is beside it, or widened.

        Args:
            narrow: register of the narrow sum.
            fresh: nothing was added to it before.
        """

    @abstractmethod
    def widened(self, slot: int, narrow: int) -> str:
        """The line that adds a narrow sum to its wider one."""


def across(rows: int) -> tuple[list[str], list[int]]:
    """Lines that add the four int32 lanes of every sum of a weight vector, and the register in which each row's end."""
    lines, places = [], []
    for first in range(0, CHANNELS * rows, CHANNELS):
        pairs = ((first, first, first + 1), (first + 2, first + 2, first + 3), (first, first, first + 2))
        lines += [f"addp v{to}.4s, v{left}.4s, v{right}.4s" for to, left, right in pairs]
        places.append(first)
    return lines, places
