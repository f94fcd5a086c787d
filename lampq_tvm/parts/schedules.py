"""How the functions of a part run on a CPU's cores and vectors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tvm import s_tir, tirx
from tvm.s_tir import dlight
from tvm.s_tir.schedule import LoopRV, SBlockRV, Schedule, ScheduleError
from tvm.target import Target

from lampq_tvm.parts.legalize import PRODUCT

SPATIAL, REDUCTION = 0, 2


class Product(dlight.base.ScheduleRule):  # type: ignore[misc]
    """Packed products (`parts.legalize`): a tile's sums stay in registers, and what follows is done where it lies.

    Args:
        height: rows of a tile, at most.
    """

    def __init__(self, height: int) -> None:
        self.height = height

    def apply(self, func: tirx.PrimFunc, target: Target, _: bool) -> Schedule | None:
        """The schedule; None for other functions."""
        schedule = _schedule(func)
        blocks = {} if schedule is None else {schedule.get(b).name_hint: b for b in _blocks(schedule)}
        if schedule is None or PRODUCT not in blocks:
            return None
        for block in _blocks(schedule)[:-1]:
            if schedule.get(block).name_hint != PRODUCT:
                with _if_possible():
                    schedule.compute_inline(block)
        product, last = blocks[PRODUCT], _blocks(schedule)[-1]
        b, i, j, lane, k = schedule.get_loops(product)
        rows = int(schedule.get(i).extent)
        tile = next((t for t in range(self.height, 0, -1) if rows % t == 0), 1)
        outer, inner = schedule.split(i, [None, tile])
        schedule.reorder(b, j, outer, k, inner, lane)
        with _if_possible():
            schedule.reverse_compute_at(last, outer)
            _vectorize_innermost(schedule, last)
        schedule.parallel(schedule.fuse(b, j))
        schedule.vectorize(lane)
        schedule.unroll(inner)
        schedule.decompose_reduction(product, k)
        return schedule


class Rest(dlight.base.ScheduleRule):  # type: ignore[misc]
    """Everything else: what only moves or maps elements is merged, an inner axis goes over vectors, an outer one over cores.

    Args:
        lanes: float32 lanes of a vector.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes

    def apply(self, func: tirx.PrimFunc, target: Target, _: bool) -> Schedule | None:
        """The schedule; None where the function has none."""
        schedule = _schedule(func)
        if schedule is None:
            return None
        for block in _blocks(schedule)[:-1]:
            if schedule.get(block).name_hint != "pad_temp":
                with _if_possible():
                    schedule.compute_inline(block)
        for block in _blocks(schedule):
            with _if_possible():
                self._spread(schedule, block)
        return schedule

    def _spread(self, schedule: Schedule, block: SBlockRV) -> None:
        """One block's loops."""
        loops = schedule.get_loops(block)
        kinds = [int(v.iter_type) for v in schedule.get(block).iter_vars]
        spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == SPATIAL]
        reduced = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == REDUCTION]
        if not spatial or len(spatial) + len(reduced) != len(loops):
            return
        if not reduced:
            whole = schedule.fuse(*spatial) if len(spatial) > 1 else spatial[0]
            schedule.parallel(self._vectors(schedule, whole))
            return
        size = self._fitting(int(schedule.get(spatial[-1]).extent))
        if size > 1:
            outer, lane = schedule.split(spatial[-1], [None, size])
            schedule.reorder(*spatial[:-1], outer, *reduced, lane)
            schedule.vectorize(lane)
            spatial = [*spatial[:-1], outer]
        schedule.parallel(schedule.fuse(*spatial) if len(spatial) > 1 else spatial[0])
        schedule.decompose_reduction(block, reduced[0])

    def _vectors(self, schedule: Schedule, loop: LoopRV) -> LoopRV:
        """A loop's inner part over vectors; the loop that is left."""
        size = self._fitting(int(schedule.get(loop).extent))
        if size == 1:
            return loop
        outer, lane = schedule.split(loop, [None, size])
        schedule.vectorize(lane)
        return outer

    def _fitting(self, extent: int) -> int:
        return next((n for n in (self.lanes, 8, 4) if n <= self.lanes and extent % n == 0), 1)


def _schedule(func: object) -> Schedule | None:
    """A schedule of a function whose blocks can be looked at."""
    if not isinstance(func, tirx.PrimFunc):
        return None
    try:
        schedule = s_tir.Schedule(func)
        _blocks(schedule)
    except (ScheduleError, ValueError, RuntimeError):
        return None
    return schedule


def _blocks(schedule: Schedule) -> list[SBlockRV]:
    return list(schedule.get_child_blocks(schedule.get_sblock("root")))


def _vectorize_innermost(schedule: Schedule, block: SBlockRV) -> None:
    *_, innermost = schedule.get_loops(block)
    if int(schedule.get(innermost).extent) > 1:
        schedule.vectorize(innermost)


@contextlib.contextmanager
def _if_possible() -> Iterator[None]:
    """A step of a schedule that TVM may refuse, which then stays undone."""
    with contextlib.suppress(ScheduleError, ValueError, RuntimeError):
        yield
