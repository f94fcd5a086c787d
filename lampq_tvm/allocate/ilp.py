"""The integer program: one choice per layer, least total loss, every cost row within its limit.

    min sum_i sum_p loss[i][p] y[i][p]    with sum_p y[i][p] = 1 for each layer i,
                                          sum_i sum_p cost_r[i][p] y[i][p] <= limit_r for each row r, y binary.

It is LampQ's program (Sec. "I3", one row: sum c_i B_i <= b sum c_i) with any number of rows, as in HAWQ-V3.
Choices are listed in order of preference: of choices with equal loss the earlier one is taken where it fits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import mip
import numpy as np

from lampq_tvm.errors import LampqError

SCALE = 1e6  # of the objective: the solver's absolute tolerances (1e-7) then lie at 1e-13 of the largest loss
TRIES = 8


@dataclass(frozen=True)
class Row:
    """A cost row: sum over layers of `cost[i][choice_i]` at most `limit`, both float64; whole numbers stay exact."""

    cost: list[np.ndarray]
    limit: float

    def total(self, choice: Sequence[int]) -> float:
        """Cost of a choice per layer, correctly rounded."""
        return math.fsum(float(c[p]) for c, p in zip(self.cost, choice, strict=True))

    def holds(self, choice: Sequence[int]) -> bool:
        """Whether the choice stays within the limit."""
        return self.total(choice) <= self.limit

    @property
    def least(self) -> float:
        """Smallest total that any choice has."""
        return math.fsum(float(c.min()) for c in self.cost)


def solve(loss: Sequence[np.ndarray], rows: Sequence[Row]) -> list[int] | None:
    """Choose for each layer.

    Args:
        loss: per layer [choices] float64; choices with infinite loss are never taken.
        rows: the cost rows.

    Returns:
        Index of the choice per layer, or None where no choice meets every row.
    """
    kept = [_undominated(loss[i], [row.cost[i] for row in rows]) for i in range(len(loss))]
    if any(not k for k in kept) or any(row.least > row.limit for row in rows):
        return None
    limits = [row.limit for row in rows]
    for _ in range(TRIES):
        choice = _run(loss, rows, limits, kept)
        if choice is None:
            return None
        over = [max(0.0, row.total(choice) - row.limit) for row in rows]
        if not any(over):
            return polish(choice, loss, rows)
        # The solver meets rows only within its tolerance: ask again with that much less.
        limits = [limit - 2 * x for limit, x in zip(limits, over, strict=True)]
    return None


def polish(choice: Sequence[int], loss: Sequence[np.ndarray], rows: Sequence[Row]) -> list[int]:
    """Move single layers, in order, to the first choice of lower or equal loss that fits, until none moves.

    It settles ties by preference, and finds gains below the solver's tolerance.
    """
    best, moved = list(choice), True
    while moved:
        moved = False
        for i, losses in enumerate(loss):
            order = sorted(range(len(losses)), key=lambda p, losses=losses: (float(losses[p]), p))  # type: ignore[misc]
            better = order[: order.index(best[i])]
            slack = [row.limit - row.total(best) for row in rows] if better else []
            for p in better:
                more = [row.cost[i][p] - row.cost[i][best[i]] for row in rows]
                near = all(x <= s + 1e-6 * row.limit for x, s, row in zip(more, slack, rows, strict=True))
                trial = [*best[:i], p, *best[i + 1 :]]
                if near and all(row.holds(trial) for row in rows):
                    best, moved = trial, True
                    break
    return best


def _undominated(loss: np.ndarray, costs: Sequence[np.ndarray]) -> list[int]:
    """Choices of finite loss that no other one beats or equals in loss and in every cost (the earlier of equals stays)."""
    table = np.stack([loss, *costs], axis=1)
    finite = [p for p in range(len(loss)) if np.isfinite(table[p]).all()]
    kept = []
    for p in finite:
        others = [q for q in finite if q != p and (table[q] <= table[p]).all()]
        if not any((table[q] < table[p]).any() or q < p for q in others):
            kept.append(p)
    return kept


def _run(
    loss: Sequence[np.ndarray], rows: Sequence[Row], limits: Sequence[float], kept: Sequence[Sequence[int]]
) -> list[int] | None:
    """One call of the solver; None where it finds the program infeasible."""
    model = _new_model()
    y = [{p: model.add_var(var_type=mip.BINARY) for p in choices} for choices in kept]
    for variables in y:
        model += mip.xsum(variables.values()) == 1
    for row, limit in zip(rows, limits, strict=True):
        unit = max((float(row.cost[i][p]) for i, v in enumerate(y) for p in v), default=0.0) or 1.0
        model += mip.xsum(float(row.cost[i][p]) / unit * x for i, v in enumerate(y) for p, x in v.items()) <= limit / unit
    least = [min(float(loss[i][p]) for p in v) for i, v in enumerate(y)]
    largest = max(float(loss[i][p]) - least[i] for i, v in enumerate(y) for p in v) or 1.0
    model.objective = mip.minimize(
        mip.xsum(SCALE * ((float(loss[i][p]) - least[i]) / largest) * x for i, v in enumerate(y) for p, x in v.items())
    )
    status = model.optimize()
    if status in (mip.OptimizationStatus.INFEASIBLE, mip.OptimizationStatus.INT_INFEASIBLE):
        return None
    if status != mip.OptimizationStatus.OPTIMAL:
        raise LampqError(f"the solver stopped with {status.name}", where="allocate")
    return [max(v, key=lambda p, v=v: (v[p].x, -p)) for v in y]  # type: ignore[misc]


def _new_model() -> mip.Model:
    """A silent model on HiGHS, or on CBC where HiGHS does not load, that stops only at the optimum."""
    try:
        model = mip.Model(solver_name=mip.HIGHS)
    except Exception:  # python-mip raises bare exceptions where a solver's library is missing
        model = mip.Model(solver_name=mip.CBC)
    model.verbose = 0
    model.max_mip_gap = 0.0
    model.max_mip_gap_abs = 0.0
    model.seed = 1
    model.threads = 1
    return model
