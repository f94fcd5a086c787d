"""Why: the text beside each width of a plan, and the error that names the nearest feasible budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lampq_tvm.allocate.budget import Budget
from lampq_tvm.allocate.costs import Limit, figure_text, layer_ms
from lampq_tvm.allocate.ilp import Row, solve
from lampq_tvm.errors import InfeasibleError
from lampq_tvm.latency.table import LatencyTable
from lampq_tvm.network.model import Layer
from lampq_tvm.sensitivity.pairs import Pair


def reason(layer: Layer, choices: Sequence[Pair], loss: np.ndarray, chosen: int, latency: LatencyTable | None) -> str:
    """One line: the predicted loss, what the next wider and narrower widths would change, and times where known."""
    parts = [f"predicted loss {loss[chosen]:.3g}"]
    finite = [p for p in range(len(choices)) if np.isfinite(loss[p])]
    wider = [p for p in finite if loss[p] < loss[chosen]]
    narrower = [p for p in finite if loss[p] > loss[chosen]]
    if not wider:
        parts.append("nothing lowers it further")
    else:
        p = max(wider, key=lambda p: (float(loss[p]), p))
        parts.append(f"{_name(choices[p])} would save {loss[chosen] - loss[p]:.3g}, which the budget needs elsewhere")
    if narrower:
        p = min(narrower, key=lambda p: (float(loss[p]), p))
        parts.append(f"{_name(choices[p])} would add {loss[p] - loss[chosen]:.3g}")
    if latency is not None:
        times = layer_ms(latency, layer, choices)
        parts.append(f"{times[chosen]:.3g} ms")
        slower = [p for p in finite if sum(choices[p]) < sum(choices[chosen]) and np.inf > times[p] > times[chosen]]
        if slower:
            p = min(slower)
            parts.append(f"{_name(choices[p])} would be slower here, {times[p]:.3g} ms")
    return "; ".join(parts)


def _name(pair: Pair) -> str:
    """A pair as `w/a`."""
    return f"{pair[0]}/{pair[1]} bits"


def infeasible(limits: Sequence[Limit]) -> InfeasibleError:
    """The error of budgets that cannot be met, naming the nearest that can.

    Budgets out of reach by themselves are named with their least figures. Where each is within reach but not all at
    once, it is the least figure of each while the others hold, or else one combination that can be met.
    """
    budgets = list(dict.fromkeys(limit.budget for limit in limits))
    alone = {limit.budget for limit in limits if limit.row.least > limit.row.limit}
    if alone:
        least = {b: [limit.row.least for limit in limits if limit.budget == b] for b in budgets if b in alone}
        what = f"no plan meets the budget {', '.join(b.text for b in least)}"
        return _error(what, "the nearest feasible is", [_instead(limits, b, totals) for b, totals in least.items()], ", ")
    what = f"no plan meets {' and '.join(b.text for b in budgets)} together"
    nearest = []
    for budget in budgets:
        free = [limit.row for limit in limits if limit.budget == budget]
        choice = solve(_joint(free), [limit.row for limit in limits if limit.budget != budget])
        if choice is not None:
            nearest.append(_instead(limits, budget, [row.total(choice) for row in free]))
    if nearest:
        return _error(what, "with the others kept, the nearest feasible is", nearest, " or ")
    choice = solve(_joint([limit.row for limit in limits]), [])
    totals = {b: [limit.row.total(choice or []) for limit in limits if limit.budget == b] for b in budgets}
    return _error(what, "together these can be met:", [_instead(limits, b, t) for b, t in totals.items()], ", ")


def _error(what: str, lead: str, nearest: list[str], joint: str) -> InfeasibleError:
    """The error with its hint."""
    return InfeasibleError(what, where="budget", hint=f"{lead} {joint.join(nearest)}")


def _joint(rows: Sequence[Row]) -> list[np.ndarray]:
    """Per layer [choices]: the rows' costs, each relative to its limit, added."""
    return [sum((r.cost[i] / abs(r.limit or 1.0) for r in rows), np.zeros(1)) for i in range(len(rows[0].cost))]


def _instead(limits: Sequence[Limit], budget: Budget, totals: Sequence[float]) -> str:
    """`NEAREST instead of ASKED`; what lies within the budget is shown as asked."""
    own = [limit for limit in limits if limit.budget == budget]
    figures = [x.figure(total) for x, total in zip(own, totals, strict=True)]
    asked = [budget.value, budget.a_value or budget.value][: len(own)]
    shown = [value if total <= x.row.limit else f for x, total, value, f in zip(own, totals, asked, figures, strict=True)]
    return f"{figure_text(budget, shown)} instead of {budget.text}"
