import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lampq_tvm.allocate.reduce import Dense, exchange, promising
from tests.examples import quick_examples


def program(seed, layers=4, choices=4, tight=0.5):
    rng = np.random.default_rng(seed)
    loss, cost = rng.uniform(0, 1, (layers, choices)), rng.uniform(0, 1, (2, layers, choices))
    least, most = cost.min(axis=2).sum(axis=1), cost.max(axis=2).sum(axis=1)
    return Dense(loss, cost, least + tight * (most - least))


def optimum(dense):
    layers, choices = dense.loss.shape
    plans = (np.array(p) for p in itertools.product(range(choices), repeat=layers))
    return min((p for p in plans if dense.within(p)), key=dense.total, default=None)


@quick_examples(200)
@given(seed=st.integers(0, 2**32 - 1), tight=st.floats(0.05, 1.0), multipliers=st.tuples(*[st.floats(0.0, 3.0)] * 2))
def test_the_optimum_is_never_left_out(seed, tight, multipliers):
    dense = program(seed, tight=tight)
    best = optimum(dense)
    kept = promising(dense, np.array(multipliers))
    if kept is not None:
        assert best is not None and kept[np.arange(len(best)), best].all()


def test_good_multipliers_leave_out_most():
    dense = program(3, layers=60, choices=7)
    grid = [np.array(m) for m in itertools.product(np.linspace(0, 3, 31), repeat=2)]
    bounds = [(dense.loss + np.tensordot(m, dense.cost, axes=1)).min(axis=1).sum() - m @ dense.limit for m in grid]
    assert promising(dense, grid[int(np.argmax(bounds))]).sum() < 0.5 * dense.loss.size


def test_exchange_enters_the_limits_and_then_gains():
    dense = program(5, layers=20, choices=5, tight=0.2)
    greedy = dense.loss.argmin(axis=1)
    assert not dense.within(greedy)
    plan = exchange(dense, greedy, np.zeros_like(dense.loss))
    assert dense.within(plan)
    cheapest = dense.cost.sum(axis=0).argmin(axis=1)
    assert dense.within(cheapest) and dense.total(plan) < dense.total(cheapest)


def test_a_choice_that_may_not_be_taken_stays_out():
    dense = program(7)
    dense.loss[:, 0] = np.inf
    kept = promising(dense, np.array([0.5, 0.5]))
    assert kept is not None and not kept[:, 0].any()
