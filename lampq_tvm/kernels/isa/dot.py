"""What an instruction set's multiply-add is: operand layouts, and how a register tile of products is written.

A product multiplies a panel of activations with packed weights:

    panel   [K / group, rows, group]            rows of one register tile, `group` inputs side by side
    weights [N / lanes, K / group, lanes, group]     (other layouts: `Dot.row_items`, `Dot.weight_bytes`)
    acc     [rows, vectors * lanes] int32     held in registers, in an arrangement that only the instruction set knows
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import steps
from lampq_tvm.kernels.isa.operand import Packed
from lampq_tvm.kernels.registers import Registers
from lampq_tvm.levels import CpuLevel


@dataclass(frozen=True)
class Tile:
    """A register tile of a product and where its operands lie.

    Attributes:
        rows, vectors: size; a vector is `Dot.lanes` output channels.
        groups: steps along K, of `Dot.group` inputs each.
        unroll: steps that are written out in the loop's body.
        acc: `Dot.slots` registers of int32 [acc_lanes].
        a: the panel, of `Dot.a_dtype`.
        weights: each weight vector, int8 [`Dot.weight_bytes`] a step.
    """

    rows: int
    vectors: int
    groups: int
    unroll: int
    acc: Registers
    a: Packed
    weights: Sequence[Packed]


@dataclass(frozen=True)
class Dot(ABC):
    """One instruction set's multiply-add for one pair of widths.

    Attributes:
        name: unique name; kernels of equal names are equal.
        lanes: output channels of a weight vector: those of as many registers as are packed side by side.
        group: inputs of an output channel that lie side by side.
        a_dtype: type of the multiplied activation: `uint8`, `int8` or `int16`.
        shift: added to a signed code to make the multiplied activation (128 where the hardware wants unsigned ones).
        level: whose instruction it is.
    """

    name: str
    lanes: int
    group: int
    a_dtype: str
    shift: int
    level: CpuLevel = field(kw_only=True, repr=False)

    @property
    def negate(self) -> bool:
        """Whether activations are stored with their sign turned."""
        return False

    @property
    def layout(self) -> str:
        """How weights are packed, as a recipe's `from` says it (runtime/params.py)."""
        return "weights"

    @property
    def row_items(self) -> int:
        """Elements of a panel's row at a step."""
        return self.group

    @property
    def weight_bytes(self) -> int:
        """Bytes of a weight vector at a step."""
        return self.lanes * self.group

    @property
    def weight_dtype(self) -> str:
        """Type that a weight is multiplied in; factors that are packed where they are used are packed so."""
        return "int8"

    @property
    def row_block(self) -> int:
        """Rows of a panel are padded to a multiple of it."""
        return 1

    @property
    def step_block(self) -> int:
        """Steps of a panel are padded to a multiple of it."""
        return 1

    def panel_rows(self, rows: int) -> int:
        """Rows that a panel is stored with."""
        return rows + -rows % self.row_block

    @property
    def accumulators(self) -> int:
        """Accumulator registers that fit beside weights and activations."""
        return self.level.accumulators

    @property
    def spare(self) -> int:
        """Accumulator registers beyond `accumulators` that may still pay off: LLVM keeps some in memory."""
        return 4

    @property
    def together(self) -> int:
        """Weight vectors whose sums are best finished together."""
        return 1

    def fits(self, rows: int, vectors: int) -> bool:
        """Whether a tile can be written at all."""
        return True

    @property
    def unroll(self) -> int:
        """Steps along K that are written out unless tuning finds better."""
        return 2

    def slots(self, rows: int, vectors: int) -> int:
        """Accumulator registers of a tile."""
        return rows * vectors * self.lanes // self.acc_lanes

    def multiplies(self, rows: int, vectors: int) -> float:
        """Multiply-adds of a step, and what else its sums take."""
        return self.slots(rows, vectors)

    def loads(self, rows: int, vectors: int) -> float:
        """Instructions of a step besides the multiply-adds."""
        return rows + vectors

    def instructions(self, rows: int, vectors: int) -> float:
        """Of a step."""
        return self.multiplies(rows, vectors) + self.loads(rows, vectors)

    @property
    def acc_lanes(self) -> int:
        """int32 lanes of an accumulator register."""
        return self.lanes

    def part(self, channels: int) -> Dot:
        """The multiply-add for tiles that need no more than the first channels of a weight vector."""
        return self

    @abstractmethod
    def multiply(self, tile: Tile) -> None:
        """Write tile.acc = the tile's products over all steps."""

    def read(self, tile: Tile, row: int, vector: int) -> list[Expr]:
        """A row's sums for the `lanes` channels of a weight vector: registers of int32 [acc_lanes]."""
        count = self.lanes // self.acc_lanes
        first = (row * tile.vectors + vector) * count
        return [tile.acc.load(first + i) for i in range(count)]


class Simple(Dot):
    """A multiply-add that adds `group` products straight into each int32 lane."""

    def multiply(self, tile: Tile) -> None:
        """Write tile.acc = the tile's products over all steps."""
        tile.acc.clear()
        for k in steps(tile.groups, tile.unroll):
            self.step(tile, k)

    @abstractmethod
    def step(self, tile: Tile, k: Expr) -> None:
        """Write one step along K."""


def words(tile: Tile, k: Expr) -> list[Expr]:
    """Each row's inputs of a step as one 32-bit integer."""
    return [T.reinterpret(tile.a.read(k, row, 1), dtype="int32") for row in range(tile.rows)]
