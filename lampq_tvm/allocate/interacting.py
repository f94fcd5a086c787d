"""The program with interaction terms: min sum_i L_i(p_i) + sum_ij r_ij sqrt(L_i(p_i) L_j(p_j)), rows as before.

It starts from the solution without them and moves one layer, or two at once, to neighbouring widths as long as that lowers the
loss and every row holds: the terms are small against the losses, and few moves are needed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lampq_tvm.allocate.ilp import Row
from lampq_tvm.sensitivity.pairs import Pair, Term

F64 = npt.NDArray[np.float64]
NEAR = 1  # bits that a layer's widths move at once


def total_loss(choice: Sequence[int], loss: Sequence[F64], terms: Sequence[Term]) -> float:
    """Of a choice per layer."""
    own = [float(x[p]) for x, p in zip(loss, choice, strict=True)]
    return math.fsum(own) + math.fsum(r * math.sqrt(own[i] * own[j]) for i, j, r in terms)


def refined(
    choice: Sequence[int], choices: Sequence[Sequence[Pair]], loss: Sequence[F64], rows: Sequence[Row], terms: Sequence[Term]
) -> list[int]:
    """The choice after all moves that pay."""
    best, least = list(choice), total_loss(choice, loss, terms)
    while True:
        found = _best_move(best, least, choices, loss, rows, terms)
        if found is None:
            return best
        best, least = found


def _best_move(
    start: list[int],
    least: float,
    choices: Sequence[Sequence[Pair]],
    loss: Sequence[F64],
    rows: Sequence[Row],
    terms: Sequence[Term],
) -> tuple[list[int], float] | None:
    """The best of all moves of one layer and of two, with its loss; None where none pays."""
    moves = [(i, p) for i, pairs in enumerate(choices) for p in _neighbours(pairs, start[i]) if np.isfinite(loss[i][p])]
    change = {move: _change(start, [move], loss, terms) for move in moves}
    spent = {(i, p): np.array([row.cost[i][p] - row.cost[i][start[i]] for row in rows]) for i, p in moves}
    room = np.array([row.limit - row.total(start) for row in rows])
    crossing = {(i, j) for i, j, _ in terms}
    found: list[tuple[float, list[tuple[int, int]]]] = [
        (change[move], [move]) for move in moves if change[move] < 0 and (spent[move] <= room).all()
    ]
    for one, two in itertools.combinations(moves, 2):
        if one[0] == two[0] or not (spent[one] + spent[two] <= room).all():
            continue
        near = (one[0], two[0]) in crossing or (two[0], one[0]) in crossing
        gain = _change(start, [one, two], loss, terms) if near else change[one] + change[two]
        if gain < 0:
            found.append((gain, [one, two]))
    for gain, picked in sorted(found, key=lambda each: each[0]):
        moved = list(start)
        for i, p in picked:
            moved[i] = p
        after = total_loss(moved, loss, terms)
        if gain < -1e-12 * abs(least) and after < least and all(row.holds(moved) for row in rows):
            return moved, after
    return None


def _neighbours(pairs: Sequence[Pair], place: int) -> list[int]:
    """Choices whose widths lie near those of one."""
    w, a = pairs[place]
    return [p for p, (x, y) in enumerate(pairs) if p != place and abs(x - w) <= NEAR and abs(y - a) <= NEAR]


def _change(start: Sequence[int], moves: Sequence[tuple[int, int]], loss: Sequence[F64], terms: Sequence[Term]) -> float:
    """What moves do to the loss."""
    moved = dict(moves)

    def root(i: int, at: int) -> float:
        return float(np.sqrt(loss[i][at]))

    found = sum(float(loss[i][p] - loss[i][start[i]]) for i, p in moves)
    for i, j, r in terms:
        if i in moved or j in moved:
            after = root(i, moved.get(i, start[i])) * root(j, moved.get(j, start[j]))
            found += r * (after - root(i, start[i]) * root(j, start[j]))
    return found
