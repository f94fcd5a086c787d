"""The search space of a product: its loop nest, tiled by sampled sizes.

MetaSchedule searches over schedules of the product's plain loop nest: its mutations choose sizes and its cost model reads the
nest. A candidate's sizes are then handed to the kernel's own builder, and what is measured is the kernel that would ship.
"""

from __future__ import annotations

import contextlib
import random
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import te
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.mutator import PyMutator
from tvm.s_tir.meta_schedule.postproc import PyPostproc
from tvm.s_tir.meta_schedule.search_strategy import EvolutionarySearch
from tvm.s_tir.meta_schedule.space_generator import ScheduleFn
from tvm.s_tir.meta_schedule.tune_context import _normalize_mod

from lampq_tvm.kernels.isa import dot_for
from lampq_tvm.kernels.isa.dot import Dot
from lampq_tvm.kernels.shapes import ProductShape, padded
from lampq_tvm.kernels.tiles import MAX_ROWS, MAX_VECTORS, Tiles, default_tiles

GROUPS = (1, 2, 3, 4, 6)
UNROLLS = (1, 2, 4, 8)
MAX_BODY = 256  # multiply-adds written out in the innermost loop, so that it stays in the instruction cache
SPILL = 4  # accumulators beyond the level's budget that may still pay off
TASKS_LEFT = 8  # parallel tasks that grouping leaves, so that records serve more cores than they were tuned on
POPULATION = 32


@dataclass(frozen=True)
class Kernel:
    """A product to tune: shape, instruction set level and the widths it is tried with."""

    shape: ProductShape
    isa: str
    w_bits: int
    a_bits: int

    @property
    def dot(self) -> Dot:
        """Its multiply-add."""
        return dot_for(self.isa, self.w_bits, self.a_bits)

    @property
    def default(self) -> Tiles:
        """Tiles without tuning."""
        return default_tiles(self.shape, self.dot)


def choices(kernel: Kernel) -> tuple[tuple[int, ...], ...]:
    """What rows, vectors, group and unroll are chosen from."""
    blocks = padded(kernel.shape, kernel.dot)[0] // kernel.dot.lanes
    rows = range(1, min(MAX_ROWS, kernel.shape.rows) + 1)
    return tuple(rows), tuple(range(1, min(MAX_VECTORS, blocks) + 1)), GROUPS, UNROLLS


def sensible(tiles: Tiles, kernel: Kernel) -> bool:
    """Whether tiles are worth building: accumulators in registers, a short loop body, work left for other cores."""
    dot, budget = kernel.dot, kernel.dot.accumulators
    used, reachable = dot.slots(tiles.rows, tiles.vectors), dot.slots(*(c[-1] for c in choices(kernel)[:2]))
    count = -(-kernel.shape.rows // tiles.rows)
    body = tiles.rows * tiles.vectors * tiles.unroll
    fits = min(budget, reachable) <= 4 * used and used <= budget + SPILL
    return fits and body <= MAX_BODY and (tiles.group == 1 or count // tiles.group >= TASKS_LEFT)


def computation(kernel: Kernel) -> tvm.IRModule:
    """The product's plain loop nest over rows, channels and inputs."""
    shape = kernel.shape
    a, w = te.placeholder((shape.rows, shape.k), "int8", "A"), te.placeholder((shape.n, shape.k), "int8", "W")
    k = te.reduce_axis((0, shape.k), "k")
    body = te.compute(
        (shape.rows, shape.n), lambda m, n: te.sum(a[m, k].astype("int32") * w[n, k].astype("int32"), axis=k), name="acc"
    )
    return _normalize_mod(te.create_prim_func([a, w, body]))


def sampled(sch: Schedule, kernel: Kernel, tiles: Tiles | None = None) -> None:
    """Tile the nest by sampled sizes, or by those of `tiles` as the samples' outcome."""
    outcome = None if tiles is None else (tiles.rows, tiles.vectors, tiles.group, tiles.unroll)
    sizes = []
    for i, options in enumerate(choices(kernel)):
        decision = None if outcome is None else options.index(outcome[i])
        sizes.append(sch.sample_categorical(options, [1 / len(options)] * len(options), decision=decision))
    rows, vectors, group, unroll = sizes
    dot = kernel.dot
    m, n, k = sch.get_loops(sch.get_sblock("acc"))
    m, m_group, m_inner = sch.split(m, [None, group, rows])
    n, vector, lane = sch.split(n, [None, vectors, min(dot.lanes, kernel.shape.n)])
    k, step, inner = sch.split(k, [None, unroll, min(dot.group, kernel.shape.k)])
    sch.reorder(m, n, m_group, k, step, m_inner, vector, inner, lane)
    sch.parallel(m)
    sch.vectorize(lane)
    for loop in (step, m_inner, vector):
        sch.unroll(loop)


def tiles_of(sch: Schedule) -> Tiles:
    """The sizes that a schedule's trace decided on."""
    return Tiles(*(int(inst.attrs[0][int(sch.trace.decisions[inst])]) for inst in _samples(sch.trace)))


def _samples(trace: Any) -> list[Any]:
    return [inst for inst in trace.insts if inst.kind.name == "SampleCategorical"]


@derived_object
class OtherSize(PyMutator):  # type: ignore[misc]
    """Changes one sampled size."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)

    def _initialize_with_tune_context(self, context: Any) -> None:
        """Nothing to keep of the context."""

    def apply(self, trace: Any, _: Any) -> Any:
        """The trace with one other decision."""
        inst = self.random.choice([i for i in _samples(trace) if len(i.attrs[0]) > 1])
        now = int(trace.decisions[inst])
        other = self.random.choice([i for i in range(len(inst.attrs[0])) if i != now])
        return trace.with_decision(inst, other, remove_postproc=True)

    def clone(self) -> OtherSize:
        """A copy for another thread."""
        return OtherSize(self.random.randrange(1 << 30))


@derived_object
class Sensible(PyPostproc):  # type: ignore[misc]
    """Drops candidates that are not worth building, before one of the trials is spent on them."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self.kernel = kernel

    def _initialize_with_tune_context(self, context: Any) -> None:
        """Nothing to keep of the context."""

    def apply(self, sch: Schedule) -> bool:
        """Whether to keep the candidate."""
        return sensible(tiles_of(sch), self.kernel)

    def clone(self) -> Sensible:
        """A copy for another thread."""
        return Sensible(self.kernel)


def context(kernel: Kernel, target: tvm.target.Target, seed: int) -> ms.TuneContext:
    """A tuning context over the sampled schedules; one thread, so that it repeats itself."""
    space = ScheduleFn(lambda sch: sampled(sch, kernel), [], [Sensible(kernel)], {OtherSize(seed): 1.0})
    strategy = EvolutionarySearch(population_size=POPULATION, init_min_unmeasured=POPULATION // 2, genetic_num_iters=2)
    with _no_stock_intrinsics():
        return ms.TuneContext(
            computation(kernel),
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
