"""MetaSchedule's side of a search: the plain loop nest of a kernel, tiled by sampled sizes.

MetaSchedule searches over schedules of the nest: its mutations choose sizes and its cost model reads the nest. A candidate's
sizes are then handed to the kernel's own builder, and what is measured is the kernel that would ship.
"""

from __future__ import annotations

import contextlib
import random
import sys
import types
from collections.abc import Iterator
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

from lampq_tvm.kernels.tiles import Tiles
from lampq_tvm.tune.space import Space

POPULATION = 32


def computation(space: Space) -> tvm.IRModule:
    """The plain loop nest over rows, columns and depth."""
    rows, columns, depth = space.nest
    a, w = te.placeholder((rows, depth), "int8", "A"), te.placeholder((columns, depth), "int8", "W")
    k = te.reduce_axis((0, depth), "k")
    body = te.compute(
        (rows, columns), lambda m, n: te.sum(a[m, k].astype("int32") * w[n, k].astype("int32"), axis=k), name="acc"
    )
    return _normalize_mod(te.create_prim_func([a, w, body]))


def sampled(sch: Schedule, space: Space, tiles: Tiles | None = None) -> None:
    """Tile the nest by sampled sizes, or by those of `tiles` as the samples' outcome."""
    decisions = [None] * len(space.options) if tiles is None else space.indices(tiles)
    sizes = []
    for options, decision in zip(space.options, decisions, strict=True):
        sizes.append(sch.sample_categorical(options, [1 / len(options)] * len(options), decision=decision))
    rows, vectors, group, unroll = sizes
    lanes, depth = space.step
    m, n, k = sch.get_loops(sch.get_sblock("acc"))
    m, m_group, m_inner = sch.split(m, [None, group, rows])
    n, vector, lane = sch.split(n, [None, vectors, lanes])
    k, step, inner = sch.split(k, [None, unroll, depth])
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

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space

    def _initialize_with_tune_context(self, context: Any) -> None:
        """Nothing to keep of the context."""

    def apply(self, sch: Schedule) -> bool:
        """Whether to keep the candidate."""
        return self.space.sensible(tiles_of(sch))

    def clone(self) -> Sensible:
        """A copy for another thread."""
        return Sensible(self.space)


def context(space: Space, target: tvm.target.Target, seed: int) -> ms.TuneContext:
    """A tuning context over the sampled schedules; one thread, so that it repeats itself."""
    schedules = ScheduleFn(lambda sch: sampled(sch, space), [], [Sensible(space)], {OtherSize(seed): 1.0})
    strategy = EvolutionarySearch(population_size=POPULATION, init_min_unmeasured=POPULATION // 2, genetic_num_iters=2)
    with _no_stock_intrinsics():
        return ms.TuneContext(
            computation(space),
            target=target,
            space_generator=schedules,
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
