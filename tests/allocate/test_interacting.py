"""Interaction terms: the refined choice against all choices, and against the program without them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lampq_tvm.allocate.ilp import Row, solve
from lampq_tvm.allocate.interacting import refined, total_loss

PAIRS = [(b, b) for b in (4, 3, 2)]


@pytest.mark.parametrize("seed", range(20))
def test_it_is_never_worse_and_nearly_always_the_best(seed):
    rng = np.random.default_rng(seed)
    layers = 5
    loss = [rng.uniform(0.1, 5) * np.array([1.0, 3.5, 13.0]) for _ in range(layers)]
    size = rng.integers(1, 5, layers)
    row = Row([n * np.array([4.0, 3.0, 2.0]) for n in size], float(3 * size.sum()))
    terms = [(i, j, float(rng.uniform(-1, 2))) for i, j in itertools.combinations(range(layers), 2)]
    start = solve(loss, [row])
    found = refined(start, [PAIRS] * layers, loss, [row], terms)
    every = [c for c in itertools.product(range(3), repeat=layers) if row.holds(c)]
    best = min(total_loss(c, loss, terms) for c in every)
    assert row.holds(found) and total_loss(found, loss, terms) <= total_loss(start, loss, terms)
    assert total_loss(found, loss, terms) <= 1.15 * best


def test_two_that_hurt_each_other_do_not_both_get_few_bits():
    """Without terms the two cheap layers get 2 bits; their term moves a bit from the third to one of them."""
    loss = [np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 4.0]), np.array([1.0, 4.0, 12.0])]
    row = Row([np.array([4.0, 3.0, 2.0])] * 3, 8.0)
    start = solve(loss, [row])
    terms = [(0, 1, 2.0)]
    found = refined(start, [PAIRS] * 3, loss, [row], terms)
    every = min(
        (c for c in itertools.product(range(3), repeat=3) if row.holds(c)), key=lambda c: (total_loss(c, loss, terms), c)
    )
    assert total_loss(found, loss, terms) == total_loss(every, loss, terms) < total_loss(start, loss, terms)
    assert refined(start, [PAIRS] * 3, loss, [row], []) == start
