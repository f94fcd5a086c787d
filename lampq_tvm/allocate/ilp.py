"""The integer program: one choice per layer, least total loss, every cost row within its limit.

    min sum_i sum_p loss[i][p] y[i][p]    with sum_p y[i][p] = 1 for each layer i,
                                          sum_i sum_p cost_r[i][p] y[i][p] <= limit_r for each row r, y binary.

It is LampQ's program (Sec. "I3", one row: sum c_i B_i <= b sum c_i) with any number of rows, as in HAWQ-V3.
Choices are listed in order of preference: of choices with equal loss the earlier one is taken where it fits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import mip
import numpy as np

from lampq_tvm.allocate.reduce import Dense, promising
from lampq_tvm.errors import LampqError

SCALE = 1e6  # of the objective: the solver's absolute tolerances (1e-7) then lie at 1e-13 of the largest loss
LIMIT = 1e4  # of each row: the solver's absolute tolerance (1e-6) then lies at 1e-10 of the limit
SMALL = 500  # choices: a program of fewer is solved as it is
TRIES = 8
TOLERANCE = 4e-10  # of a limit: more than the solver overlooks


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
    for tries in range(TRIES):
        choice = _run(loss, rows, limits, kept)
        if choice is None:
            break
        over = [max(0.0, row.total(choice) - row.limit) for row in rows]
        if not any(over):
            return polish(choice, loss, rows)
        # The solver meets rows only within its tolerance: ask again with that much less, from the second time on with more
        # than its tolerance, which would swallow less.
        step = TOLERANCE if tries else 0.0
        limits = [limit - max(2 * x, step * abs(limit)) if x else limit for limit, x in zip(limits, over, strict=True)]
    cheapest = _cheapest(rows, kept)
    return polish(cheapest, loss, rows) if all(row.holds(cheapest) for row in rows) else None


def _cheapest(rows: Sequence[Row], kept: Sequence[Sequence[int]]) -> list[int]:
    """The least of all costs together, each in units of its limit: where plans lie closer to a limit than the solver sees."""
    return [min(k, key=lambda p, i=i: sum(r.cost[i][p] / abs(r.limit or 1.0) for r in rows)) for i, k in enumerate(kept)]  # type: ignore[misc]


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
    program = _dense(loss, rows, limits, kept)
    if sum(len(k) for k in kept) > SMALL:
        relaxed = _state(program, mip.CONTINUOUS)
        if relaxed is None:
            return None
        multipliers = np.array([max(0.0, -row.pi) for row in relaxed.rows]) / relaxed.scale
        useful = promising(program, multipliers)
        if useful is not None:
            program = replace(program, loss=np.where(useful, program.loss, np.inf))
    solved = _state(program, mip.BINARY)
    return None if solved is None else [max(v, key=lambda p, v=v: (v[p].x, -p)) for v in solved.variables]  # type: ignore[misc]


def _dense(loss: Sequence[np.ndarray], rows: Sequence[Row], limits: Sequence[float], kept: Sequence[Sequence[int]]) -> Dense:
    """The program as arrays, each row in units that make its limit `LIMIT` (its largest cost 1 where the limit is 0)."""
    shape = (len(loss), max(len(x) for x in loss))
    losses, costs = np.full(shape, np.inf), np.zeros((len(rows), *shape))
    for i, choices in enumerate(kept):
        losses[i, list(choices)] = loss[i][list(choices)]
        for r, row in enumerate(rows):
            costs[r, i, list(choices)] = row.cost[i][list(choices)]
    bounds = np.array(limits, float)
    units = np.where(bounds > 0, bounds / LIMIT, np.maximum(costs.max(axis=(1, 2)), np.finfo(float).tiny))
    return Dense(losses, costs / units[:, None, None], bounds / units)


@dataclass(frozen=True)
class _Solved:
    """What the solver left: its model (which owns the variables), the variables and cost rows, and the objective's scale."""

    model: mip.Model
    variables: list[dict[int, mip.Var]]
    rows: list[mip.Constr]
    scale: float


def _state(program: Dense, kind: str) -> _Solved | None:
    """Solve the program over binary or continuous variables; None where it is infeasible."""
    model = _new_model()
    y = [{int(p): model.add_var(ub=1, var_type=kind) for p in np.flatnonzero(np.isfinite(x))} for x in program.loss]
    for variables in y:
        model += mip.xsum(variables.values()) == 1
    rows = [
        model.add_constr(mip.xsum(float(cost[i, p]) * x for i, v in enumerate(y) for p, x in v.items()) <= float(limit))
        for cost, limit in zip(program.cost, program.limit, strict=True)
    ]
    more = program.loss - program.loss.min(axis=1, keepdims=True)
    scale = SCALE / (float(more[np.isfinite(more)].max()) or 1.0)
    model.objective = mip.minimize(mip.xsum(scale * float(more[i, p]) * x for i, v in enumerate(y) for p, x in v.items()))
    status = model.optimize()
    if status in (mip.OptimizationStatus.INFEASIBLE, mip.OptimizationStatus.INT_INFEASIBLE):
        return None
    if status != mip.OptimizationStatus.OPTIMAL:
        raise LampqError(f"the solver stopped with {status.name}", where="allocate")
    return _Solved(model, y, rows, scale)


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
