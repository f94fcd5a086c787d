"""The Pareto front of a request: what each budget between the least and the most buys, from tables that are there already."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lampq_tvm.allocate.costs import Limit, figure_text
from lampq_tvm.allocate.ilp import Row
from lampq_tvm.allocate.problem import Problem
from lampq_tvm.bitplan import BitPlan
from lampq_tvm.errors import UsageError

STEPS = 40
SLACK = 1e-9  # share of a limit that rounding may take


@dataclass(frozen=True)
class Point:
    """A plan on the front.

    Attributes:
        budget: the least budget that allows it, as it is written.
        figure: what the plan costs, in the budget's unit.
        loss: predicted.
    """

    budget: str
    figure: float
    loss: float
    plan: BitPlan


def front(program: Problem, steps: int = STEPS) -> list[Point]:
    """The plans that no other one beats in both cost and predicted loss, cheapest first.

    The first budget's limit goes from what the cheapest plan costs to what the dearest does in `steps` even steps; the other
    budgets hold as they are.

    Raises:
        UsageError: there is no budget whose limit could be moved.
    """
    if not program.limits:
        raise UsageError("a front needs a budget to move", where="--front", hint="give a --budget, for example 4bit")
    budget = program.limits[0].budget
    count = sum(limit.budget == budget for limit in program.limits)
    count = 1 if budget.a_value is not None else count  # of a pair, weights are moved
    moved, others = program.limits[:count], program.limits[count:]
    low, high = (max(_end(program, limit, pick) for limit in moved) for pick in (np.min, np.max))
    found: dict[tuple[int, ...], Point] = {}
    for value in np.linspace(low, high, steps):
        limits = [*(_moved(limit, value) for limit in moved), *others]
        choice = replace(program, limits=limits).try_solve()
        if choice is not None and tuple(choice) not in found:
            found[tuple(choice)] = _point(program, moved, choice)
    return _undominated(list(found.values()))


def _end(program: Problem, limit: Limit, pick: Callable[[np.ndarray], float]) -> float:
    """The least or the largest figure of a limit that choices have whose loss is known."""
    costs = [c[np.isfinite(x)] for c, x in zip(limit.row.cost, program.loss, strict=True)]
    return limit.figure(math.fsum(float(pick(c[np.isfinite(c)])) for c in costs))


def _moved(limit: Limit, value: float) -> Limit:
    return replace(limit, row=Row(limit.row.cost, value * limit.unit * (1 + SLACK) - limit.base))


def _point(program: Problem, moved: Sequence[Limit], choice: Sequence[int]) -> Point:
    figures = [limit.figure(limit.row.total(choice)) for limit in moved]
    budget, plan = moved[0].budget, program.plan(choice)
    text = figure_text(budget, figures if budget.a_value is None else [*figures, budget.a_value])
    return Point(text, max(figures), float(plan.notes["predicted_loss"]), plan)


def _undominated(points: Sequence[Point]) -> list[Point]:
    best, kept = math.inf, []
    for point in sorted(points, key=lambda p: (p.figure, p.loss)):
        if point.loss < best:
            best = point.loss
            kept.append(point)
    return kept
