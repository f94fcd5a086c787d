"""The cheapest plan shown to keep a drop of accuracy (`--max-drop`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lampq_tvm.allocate.budget import DropBudget
from lampq_tvm.allocate.costs import layer_bytes, layer_ms
from lampq_tvm.allocate.ilp import Row
from lampq_tvm.allocate.paired import CONFIDENCE, Paired
from lampq_tvm.allocate.problem import Problem
from lampq_tvm.bitplan import BitPlan
from lampq_tvm.errors import InfeasibleError

LEVELS = 64  # steps into which the range of costs is divided: about 0.1 bit each
RUNGS = 5  # plans that are judged at most


def allocate_within_drop(
    problem: Problem, drop: DropBudget, expected: Callable[[BitPlan], float], judge: Callable[[BitPlan], Paired]
) -> BitPlan:
    """The cheapest plan found that is shown to lose no more than `drop`, under the problem's budgets.

    Cost is time where a table may decide, else payload bytes. The plans of least loss at `LEVELS` equal steps of cost are
    searched by halving for the cheapest that may be expected to pass. It and up to `RUNGS - 1` plans between it and the
    dearest are then judged on images that had no part in this, from the dearest down, until one fails; the last that passed
    is returned. The order being fixed beforehand, each is judged at the full level and the chance that the plan returned
    loses more than `drop` is still no more than 1 - `CONFIDENCE` (fixed sequence: Maurer, Hothorn and Lehmacher 1995).

    Args:
        problem: from `make_problem`.
        drop: points that may be lost.
        expected: upper bound, in points, of what a plan will be seen to lose, from the images that choose.
        judge: a plan's answers beside the float model's on the images that judge.

    Raises:
        InfeasibleError: the budgets cannot be met, or not even the plan of least loss under them is shown to keep the drop.
    """
    seen: dict[tuple[int, ...], bool] = {}

    def passes(choice: Sequence[int]) -> bool:
        if tuple(choice) not in seen:
            seen[tuple(choice)] = expected(problem.plan(choice)) <= drop.points
        return seen[tuple(choice)]

    dearest = problem.solve()
    kept: tuple[BitPlan, Paired] | None = None
    judged = 0
    for choice in _ladder(problem, dearest, passes):
        plan = problem.plan(choice)
        found, judged = judge(plan), judged + 1
        if found.bound_points > drop.points:
            if kept is None:
                raise refusal(found, drop, "the plan of least loss within the budgets")
            break
        kept = plan, found
    assert kept is not None
    chosen = with_verdict(*kept, drop)
    more = {"plans_evaluated": len(seen), "plans_judged": judged, "cheapest_by": "ms" if problem.time_counts else "bytes"}
    return chosen.model_copy(update={"notes": {**chosen.notes, **more}})


def with_verdict(plan: BitPlan, found: Paired, drop: DropBudget) -> BitPlan:
    """A plan with the drop it keeps among its budgets, and what showed it in its notes."""
    figures = {
        "max_drop_points": drop.points,
        "drop_points": found.drop_points,
        "drop_bound_points": found.bound_points,
        "drop_confidence": CONFIDENCE,
        "judged_images": found.n,
        "losses": found.losses,
        "gains": found.gains,
    }
    budgets = (*(text for text in plan.budgets if not text.startswith("max-drop")), drop.text)
    return plan.model_copy(update={"budgets": budgets, "notes": {**plan.notes, **figures}})


def refusal(found: Paired, drop: DropBudget, what: str) -> InfeasibleError:
    """The error for a plan that may lose more than is allowed: the interval reached, and how many images would be enough."""
    enough = found.enough(drop.points)
    more = "no number of images would be enough at this rate"
    if enough is not None:
        more = f"about {enough} images would be enough at this rate (--val-images, --val-data)"
    return InfeasibleError(f"{what} lost {found}", where=drop.text, hint=f"{more}; or allow more, or loosen the other budgets")


def _ladder(problem: Problem, dearest: list[int], passes: Callable[[list[int]], bool]) -> list[list[int]]:
    """The plans to judge, from the dearest to the cheapest that passes, each step half as long as the one before."""
    rows = zip(problem.model.layers, problem.choices, strict=True)
    if problem.time_counts and problem.latency is not None:
        free = Row([layer_ms(problem.latency, layer, pairs) for layer, pairs in rows], np.inf)
    else:
        free = Row([layer_bytes(layer, pairs) for layer, pairs in rows], np.inf)
    least, top = free.least, free.total(dearest)

    def at(level: int) -> list[int] | None:
        return problem.try_solve([Row(free.cost, least + (top - least) * level / LEVELS)])

    lowest = _halve(at, passes)
    rungs = [dearest]
    for level in [*(lowest + ((LEVELS - lowest) >> halves) for halves in range(1, RUNGS - 1)), lowest]:
        choice = at(level)
        if choice is not None and choice not in rungs:
            rungs.append(choice)
    return rungs


def _halve(at: Callable[[int], list[int] | None], passes: Callable[[list[int]], bool]) -> int:
    """The lowest cost level whose plan passes, on the assumption that accuracy rises with cost; `LEVELS` where none does."""
    low, high = -1, LEVELS
    while high - low > 1:
        level = (low + high) // 2
        choice = at(level)
        low, high = (low, level) if choice is not None and passes(choice) else (level, high)
    return high
