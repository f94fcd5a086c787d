"""The search spaces: what each kind of kernel's sizes are chosen from, and which of them are worth building.

A space also says which plain loop nest stands for the kernel where MetaSchedule mutates schedules and its cost model reads
them (propose.py): the product itself, the scores of attention, the 32 strided sums of LayerNorm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import singledispatch

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kernels.attention import factors
from lampq_tvm.kernels.isa.dot import Dot
from lampq_tvm.kernels.sums import LANES
from lampq_tvm.kernels.tiles import GROUPS, MAX_ROWS, MAX_VECTORS, PANEL, TASKS_LEFT, Tiles, row_bytes
from lampq_tvm.kernels.tunable import AttentionKernel, Kernel, LayerNormKernel, ProductKernel

UNROLLS = (1, 2, 4, 8, 16)
MAX_BODY = 256  # register tiles' multiply-adds written out in the innermost loop, so that it stays in the instruction cache
SIDE_BY_SIDE = 4  # rows of LayerNorm whose sums are taken to fit into registers


@dataclass(frozen=True)
class Space:
    """Where a kernel's sizes are searched.

    Attributes:
        nest: rows, columns and depth of the plain loop nest that stands for it.
        step: columns of a vector and depth of a step.
        options: what rows, vectors, group and unroll are chosen from.
        fits: whether a register tile of (rows, vectors) can be written at all.
        registers: (rows, vectors) to accumulator registers.
        budget: accumulator registers at hand.
        spare: accumulators beyond the budget that may still pay off.
        tiled: rows of which each tile takes some.
        row_bytes: what a task keeps of a row.
    """

    nest: tuple[int, int, int]
    step: tuple[int, int]
    options: tuple[tuple[int, ...], ...]
    fits: Callable[[int, int], bool]
    registers: Callable[[int, int], int]
    budget: int
    spare: int
    tiled: int
    row_bytes: int

    def sensible(self, tiles: Tiles) -> bool:
        """Whether tiles are worth building: accumulators in registers, a short loop body, few rows kept, work left."""
        if not self.fits(tiles.rows, tiles.vectors):
            return False
        used, reachable = self.registers(tiles.rows, tiles.vectors), self.registers(self.options[0][-1], self.options[1][-1])
        fits = min(self.budget, reachable) <= 4 * used and used <= self.budget + self.spare
        count = -(-self.tiled // tiles.rows)
        short = tiles.rows * tiles.vectors * tiles.unroll <= MAX_BODY
        kept = tiles.group * tiles.rows * self.row_bytes <= PANEL
        return fits and short and (tiles.group == 1 or (kept and count // tiles.group >= TASKS_LEFT))

    def holds(self, tiles: Tiles) -> bool:
        """Whether tiles can be sampled and are worth building."""
        return all(size in options for options, size in zip(self.options, astuple(tiles), strict=True)) and self.sensible(tiles)

    def indices(self, tiles: Tiles) -> list[int]:
        """Where in the options tiles lie."""
        return [options.index(size) for options, size in zip(self.options, astuple(tiles), strict=True)]


@singledispatch
def space_of(kernel: Kernel) -> Space:
    """The space of a kernel."""
    raise UnsupportedError("there is no search space for this kernel", where=kernel.key)


@space_of.register
def _(kernel: ProductKernel) -> Space:
    shape, dot = kernel.shape, kernel.dot
    step = min(dot.lanes, shape.n), min(dot.group, shape.k)
    return _of_dot(kernel, dot, (shape.rows, shape.n, shape.k), step, shape.rows)


@space_of.register
def _(kernel: AttentionKernel) -> Space:
    shape, dot = kernel.shape, factors(kernel.shape, kernel.isa, kernel.bits)[0].dot
    nest = shape.batch * shape.heads * shape.tokens, shape.tokens, shape.head_dim
    return _of_dot(kernel, dot, nest, (min(dot.lanes, shape.tokens), min(dot.group, shape.head_dim)), shape.tokens)


@space_of.register
def _(kernel: LayerNormKernel) -> Space:
    each, step = kernel.registers, (LANES // kernel.registers, 1)
    nest = kernel.rows, LANES, -(-kernel.channels // LANES)
    registers = SIDE_BY_SIDE * each
    return Space(nest, step, _options(kernel), kernel.fits, lambda rows, _: rows * each, registers, 0, kernel.rows, nest[2])


def _of_dot(kernel: Kernel, dot: Dot, nest: tuple[int, int, int], step: tuple[int, int], tiled: int) -> Space:
    budget = max(dot.accumulators, dot.slots(kernel.default.rows, kernel.default.vectors))
    return Space(nest, step, _options(kernel), kernel.fits, dot.slots, budget, dot.spare, tiled, row_bytes(dot, nest[2]))


def _options(kernel: Kernel) -> tuple[tuple[int, ...], ...]:
    most = kernel.largest
    rows, vectors = range(1, min(MAX_ROWS, most.rows) + 1), range(1, min(MAX_VECTORS, most.vectors) + 1)
    return tuple(rows), tuple(vectors), tuple(g for g in GROUPS if g <= most.group), UNROLLS
