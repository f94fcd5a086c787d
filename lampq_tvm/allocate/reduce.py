"""Make the integer program small before it is solved: leave out choices that no optimum can hold.

For multipliers m_r >= 0 of the rows the Lagrangian bound
    L(m) = sum_i min_p (loss[i][p] + sum_r m_r cost_r[i][p]) - sum_r m_r limit_r
lies below every plan within the limits, and a plan that takes choice p in layer i costs at least L(m) plus that choice's
reduced cost, loss + m . cost less the layer's minimum. Where that lies above the loss of a plan in hand, the choice cannot
be in a better one (Geoffrion 1974, "Lagrangean relaxation for integer programming"). With the relaxation's multipliers
the bound is as good as the linear program's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

CANDIDATES = 300  # choices of least reduced cost that the exchange looks at, in pairs
EXCHANGES = 200
STARTS = 4  # plans that the exchange starts from
HAIR = 1e-12  # relative, of a limit
MARGIN = 1e-9  # relative; far above float64's rounding in sums of some thousand terms


@dataclass(frozen=True)
class Dense:
    """One program as arrays; a choice that may not be taken has infinite loss and zero cost.

    Attributes:
        loss: [layer, choice] float64.
        cost: [row, layer, choice] float64, in units in which the rows' limits are alike.
        limit: [row] float64.
    """

    loss: np.ndarray
    cost: np.ndarray
    limit: np.ndarray

    def within(self, choice: np.ndarray) -> bool:
        """Whether a choice per layer, [layer] int64, stays within every limit."""
        return bool((self.spent(choice) <= self.limit).all())

    def spent(self, choice: np.ndarray) -> np.ndarray:
        """Cost of a choice per row, [row] float64."""
        return np.asarray(self.cost[:, np.arange(len(choice)), choice].sum(axis=1))

    def total(self, choice: np.ndarray) -> float:
        """Loss of a choice."""
        return float(self.loss[np.arange(len(choice)), choice].sum())


def promising(program: Dense, multipliers: np.ndarray) -> np.ndarray | None:
    """Which choices the optimum may hold, [layer, choice] bool; None where no plan was found to compare them with.

    Args:
        multipliers: [row] float64, at least 0, in loss per unit of `cost`.
    """
    priced = program.loss + np.tensordot(multipliers, program.cost, axes=1)
    reduced = priced - priced.min(axis=1, keepdims=True)
    rng = np.random.default_rng(0)
    factors = np.exp(rng.normal(0.0, 0.1, (STARTS, len(multipliers))))
    starts = [(program.loss + np.tensordot(multipliers * f, program.cost, axes=1)).argmin(axis=1) for f in factors]
    plans = [exchange(program, start, reduced) for start in starts]
    # A hair within the limits, so that rounding does not let a plan count that lies beyond one.
    inside = replace(program, limit=program.limit - HAIR * abs(program.limit))
    best = min((program.total(plan) for plan in plans if inside.within(plan)), default=None)
    if best is None:
        return None
    bound = float(priced.min(axis=1).sum() - multipliers @ program.limit)
    return np.asarray(reduced <= best - bound + MARGIN * max(abs(best), abs(bound)))


def exchange(program: Dense, start: np.ndarray, reduced: np.ndarray) -> np.ndarray:
    """A good plan near `start`: change up to two layers at a time, first towards the limits, then towards less loss.

    Args:
        start: [layer] int64, need not be within the limits.
        reduced: [layer, choice] float64, the choices' reduced costs; only the least of them are tried.

    Returns:
        [layer] int64; not within the limits where no such change leads there.
    """
    layers, choices = np.unravel_index(np.argsort(reduced, axis=None, kind="stable")[:CANDIDATES], reduced.shape)
    possible = np.isfinite(reduced[layers, choices])
    layers, choices = layers[possible], choices[possible]
    same = layers[:, None] == layers[None, :]
    np.fill_diagonal(same, False)  # a change beside itself stands for that change alone
    alone = np.eye(len(layers), dtype=bool)
    plan = start.copy()
    for _ in range(EXCHANGES):
        gain = program.loss[layers, choices] - program.loss[layers, plan[layers]]
        more = program.cost[:, layers, choices] - program.cost[:, layers, plan[layers]]
        slack = program.limit - program.spent(plan)
        over = np.zeros(same.shape)
        for r in range(len(slack)):
            spent = np.where(alone, more[r][:, None], more[r][:, None] + more[r][None, :])
            over += np.maximum(spent - slack[r], 0.0)
        change = np.where(alone, gain[:, None], gain[:, None] + gain[None, :])
        change = np.where(same, np.inf, change)
        over = np.where(same, np.inf, over)
        least = over.min()
        now = float(np.maximum(-slack, 0.0).sum())
        nearer = over == least if least < now else over <= now
        change = np.where(nearer, change, np.inf)
        a, b = np.unravel_index(int(change.argmin()), change.shape)
        if least >= now and not change[a, b] < 0:
            break
        plan[layers[a]], plan[layers[b]] = choices[a], choices[b]
    return plan
