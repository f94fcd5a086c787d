"""The search space of a product: the schedule that ships, with sampled tile sizes.

Rows are padded to a multiple of the row tile, which is part of the computation and no decision of a schedule. So each
distinct padded row count is a computation, and a MetaSchedule space, of its own.
"""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import tvm
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.mutator import MutateTileSize
from tvm.s_tir.meta_schedule.postproc import PyPostproc
from tvm.s_tir.meta_schedule.search_strategy import EvolutionarySearch
from tvm.s_tir.meta_schedule.space_generator import ScheduleFn
from tvm.s_tir.meta_schedule.tune_context import _normalize_mod

from lampq_tvm.kernels.isa import dot_for
from lampq_tvm.kernels.isa.dot import Dot
from lampq_tvm.kernels.product import ProductShape, padded, product, round_up
from lampq_tvm.kernels.product_schedule import ACCUMULATORS, Tiles, default_tiles, schedule_product

MAX_ROWS = 12
MAX_VECTORS = 6
MAX_UNROLL = 8
MAX_BODY = 192  # multiply-add steps written out in the innermost loop, so that it stays in the instruction cache
SPILL = 4  # accumulators beyond the default's budget that may still pay off
TASKS_LEFT = 8  # parallel tasks that grouping leaves, so that records serve more cores than they were tuned on
PADDED_COUNTS = 4
POPULATION = 16
RETRIES = 2  # of a mutation: replaying schedules is what a search costs


@dataclass(frozen=True)
class Kernel:
    """A product to tune: shape, instruction set level and the widths it is tried with."""

    shape: ProductShape
    isa: str
    w_bits: int
    a_bits: int

    @property
    def dot(self) -> Dot:
        """Its multiply-add step."""
        return dot_for(self.isa, self.w_bits, self.a_bits)

    @property
    def default(self) -> Tiles:
        """Tiles without tuning."""
        return default_tiles(self.shape, self.dot, self.isa)


def sensible(tiles: Tiles, kernel: Kernel, rows: int) -> bool:
    """Whether tiles are worth building: accumulators in registers, a short loop body, work left for other cores.

    Args:
        rows: the padded row count that they were sampled for; tiles that need less padding belong to another space.
    """
    dot, budget = kernel.dot, ACCUMULATORS[kernel.isa]
    used = tiles.rows * tiles.vectors
    reachable = min(budget, min(rows, MAX_ROWS) * min(padded(kernel.shape, dot)[0] // dot.lanes, MAX_VECTORS))
    body = used * tiles.unroll * dot.depth
    tasks = rows // (tiles.rows * tiles.group)
    fits = reachable <= 4 * used and used <= budget + SPILL
    own = round_up(kernel.shape.rows, tiles.rows * tiles.group) == rows
    return own and fits and (tiles.unroll == 1 or body <= MAX_BODY) and (tiles.group == 1 or tasks >= TASKS_LEFT)


def padded_counts(kernel: Kernel) -> list[int]:
    """Padded row counts worth a space: the default's, then those with the least padding."""
    rows = kernel.shape.rows
    default = round_up(rows, kernel.default.rows)
    counts: dict[int, int] = {}
    for tile in range(1, min(MAX_ROWS, rows) + 1):
        count = round_up(rows, tile)
        counts[count] = max(counts.get(count, 0), tile)  # the largest row tile that divides it
    others = sorted((count for count in counts if count != default), key=lambda c: c * (1 + 1 / counts[c]))
    return [default, *others][:PADDED_COUNTS]


def computation(kernel: Kernel, rows: int) -> tvm.IRModule:
    """The unscheduled kernel for a padded row count."""
    return _normalize_mod(product(kernel.shape, kernel.isa, kernel.w_bits, kernel.a_bits, rows))


def sampled(sch: Schedule, kernel: Kernel, tiles: Tiles | None = None) -> None:
    """Apply the product's schedule with sampled sizes, or with those of `tiles` as the samples' outcome."""

    def sample(loop: Any, parts: int, largest: int, chosen: list[int]) -> list[Any]:
        extent = int(sch.get(loop).extent)
        decision = [extent // _product(chosen), *chosen] if tiles else None
        return list(sch.sample_perfect_tile(loop, parts, max_innermost_factor=largest, decision=decision))[1:]

    def choose(m: Any, n: Any, k: Any) -> Tiles:
        t = tiles or Tiles(1, 1)
        group, rows = sample(m, 3, MAX_ROWS, [t.group, t.rows])
        (vectors,) = sample(n, 2, MAX_VECTORS, [t.vectors])
        (unroll,) = sample(k, 2, MAX_UNROLL, [t.unroll])
        return Tiles(rows, vectors, group, unroll)

    schedule_product(sch, kernel.dot, kernel.shape.rows, choose)


def _product(sizes: list[int]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total


def tiles_of(sch: Schedule) -> Tiles:
    """The sizes that a schedule's trace decided on."""
    decisions: Mapping[Any, Any] = sch.trace.decisions
    m, n, k = (list(map(int, decisions[i])) for i in sch.trace.insts if i.kind.name == "SamplePerfectTile")
    return Tiles(m[2], n[1], m[1], k[1])


@derived_object
class Sensible(PyPostproc):  # type: ignore[misc]
    """Drops candidates that are not worth building, before one of the trials is spent on them."""

    def __init__(self, kernel: Kernel, rows: int) -> None:
        super().__init__()
        self.kernel, self.rows = kernel, rows

    def _initialize_with_tune_context(self, context: Any) -> None:
        """Nothing to keep of the context."""

    def apply(self, sch: Schedule) -> bool:
        """Whether to keep the candidate."""
        return sensible(tiles_of(sch), self.kernel, self.rows)

    def clone(self) -> Sensible:
        """A copy for another thread."""
        return Sensible(self.kernel, self.rows)


def context(kernel: Kernel, rows: int, target: tvm.target.Target, seed: int) -> ms.TuneContext:
    """A tuning context over the sampled schedules of one padded row count; one thread, so that it repeats itself."""
    space = ScheduleFn(lambda sch: sampled(sch, kernel), [], [Sensible(kernel, rows)], {MutateTileSize(): 1.0})
    strategy = EvolutionarySearch(
        population_size=POPULATION,
        init_min_unmeasured=POPULATION // 2,
        genetic_num_iters=1,
        genetic_max_fail_count=RETRIES,
    )
    with _no_stock_intrinsics():
        return ms.TuneContext(
            computation(kernel, rows),
            target=target,
            space_generator=space,
            search_strategy=strategy,
            rand_state=seed % (2**31 - 2) + 1,
            num_threads=1,
        )


@contextlib.contextmanager
def _no_stock_intrinsics() -> Iterator[None]:
    """`TuneContext` imports 248 stock intrinsics that no space here uses, for 20 s where torch is loaded."""
    name = "tvm.s_tir.tensor_intrin"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = types.ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]
