"""The cheapest plan within a drop of accuracy (`--max-drop`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lampq_tvm.allocate.budget import DropBudget
from lampq_tvm.allocate.costs import layer_bytes, layer_ms
from lampq_tvm.allocate.ilp import Row
from lampq_tvm.allocate.plan import BitPlan
from lampq_tvm.allocate.problem import Problem
from lampq_tvm.errors import InfeasibleError

LEVELS = 64  # steps into which the range of costs is divided: about 0.1 bit each
ROUNDING = 1e-9  # points


def allocate_within_drop(problem: Problem, drop: DropBudget, evaluate: Callable[[BitPlan], float], reference: float) -> BitPlan:
    """The cheapest plan found whose accuracy is within `drop` of the float model's, under the problem's budgets.

    Cost is time where a table may decide, else payload bytes. The plans of least loss at `LEVELS` equal steps of cost
    are searched by halving, on the assumption that accuracy rises with cost; what is returned was evaluated and passed.

    Args:
        problem: from `make_problem`.
        drop: points that may be lost.
        evaluate: accuracy of a plan, a share of 1.
        reference: accuracy of the float model on the same images.

    Raises:
        InfeasibleError: the budgets cannot be met, or even the plan of least loss under them drops more.
    """
    seen: dict[tuple[int, ...], float] = {}

    def lost(choice: Sequence[int]) -> float:
        """Points lost by a choice."""
        if tuple(choice) not in seen:
            seen[tuple(choice)] = 100 * (reference - evaluate(problem.plan(choice)))
        return seen[tuple(choice)]

    dearest = problem.solve()
    if lost(dearest) > drop.points + ROUNDING:
        what = f"the plan of least loss within the budgets drops {lost(dearest):.2f} points on these images"
        raise InfeasibleError(what, where=drop.text, hint="allow that much, or loosen the other budgets")
    best = _halve(problem, dearest, lambda choice: lost(choice) <= drop.points + ROUNDING)
    plan = problem.plan(best)
    figures = {"max_drop_points": drop.points, "drop_points": lost(best), "plans_evaluated": len(seen)}
    cost = "ms" if problem.time_counts else "bytes"
    notes = {**plan.notes, **figures, "cheapest_by": cost}
    return plan.model_copy(update={"budgets": (*plan.budgets, drop.text), "notes": notes})


def _halve(problem: Problem, dearest: list[int], passes: Callable[[list[int]], bool]) -> list[int]:
    """The choice of the lowest cost level that passes, found by halving between the least cost and the dearest's."""
    rows = zip(problem.model.layers, problem.choices, strict=True)
    if problem.time_counts and problem.latency is not None:
        free = Row([layer_ms(problem.latency, layer, pairs) for layer, pairs in rows], np.inf)
    else:
        free = Row([layer_bytes(layer, pairs) for layer, pairs in rows], np.inf)
    least, top = free.least, free.total(dearest)
    best, low, high = dearest, -1, LEVELS
    while high - low > 1:
        level = (low + high) // 2
        choice = problem.try_solve([Row(free.cost, least + (top - least) * level / LEVELS)])
        if choice is not None and passes(choice):
            best, high = choice, level
        else:
            low = level
    return best
