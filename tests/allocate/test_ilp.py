import itertools
import math
import time
from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lampq_tvm.allocate import ilp
from lampq_tvm.allocate.ilp import Row, polish, solve
from tests.examples import quick_examples


def brute(loss, rows):
    """Least loss over every combination, or None."""
    best = None
    for choice in itertools.product(*(range(len(x)) for x in loss)):
        if all(row.holds(choice) for row in rows):
            value = math.fsum(float(x[p]) for x, p in zip(loss, choice, strict=True))
            best = value if best is None else min(best, value)
    return best


def value(loss, choice):
    return math.fsum(float(x[p]) for x, p in zip(loss, choice, strict=True))


@quick_examples(150)
@given(
    seed=st.integers(0, 2**32 - 1),
    layers=st.integers(1, 5),
    choices=st.integers(1, 5),
    count=st.integers(0, 3),
    tight=st.floats(0.0, 1.2),
    span=st.sampled_from([1.0, 5.0]),
    small=st.sampled_from([0, 500]),
)
def test_equals_brute_force(seed, layers, choices, count, tight, span, small):
    rng = np.random.default_rng(seed)
    loss = [10 ** rng.uniform(-span, span / 2, choices) for _ in range(layers)]
    rows = []
    for r in range(count):
        cost = [rng.integers(1, 20, choices).astype(float) if r % 2 else rng.uniform(0.1, 2, choices) for _ in range(layers)]
        least, most = (sum(f(c) for c in cost) for f in (np.min, np.max))
        rows.append(Row(cost, least + tight * (most - least)))
    with mock.patch.object(ilp, "SMALL", small):  # 0: whatever cannot be in the optimum is left out first
        want, got = brute(loss, rows), solve(loss, rows)
    if want is None:
        assert got is None
    else:
        assert got is not None and all(row.holds(got) for row in rows)
        assert value(loss, got) <= want * (1 + 1e-9)


def test_never_takes_what_was_not_measured():
    loss = [np.array([1.0, np.inf]), np.array([np.inf, np.inf])]
    assert solve(loss[:1], [Row([np.array([5.0, 1.0])], 6.0)]) == [0]
    assert solve(loss[:1], [Row([np.array([5.0, 1.0])], 2.0)]) is None
    assert solve(loss, []) is None


def test_equal_losses_go_to_the_preferred_choice_that_fits():
    loss = [np.zeros(3)] * 3
    cost = [np.array([8.0, 4.0, 2.0])] * 3
    assert solve(loss, [Row(cost, 24.0)]) == [0, 0, 0]
    assert solve(loss, [Row(cost, 18.0)]) == [0, 0, 2]


def test_tiny_gains_are_not_lost_beside_large_losses():
    loss = [np.array([1e3, 2e3]), np.array([1e-8, 2e-8])]
    cost = [np.array([2.0, 1.0]), np.array([2.0, 1.0])]
    assert solve(loss, [Row(cost, 4.0)]) == [0, 0]
    assert polish([0, 1], loss, [Row(cost, 4.0)]) == [0, 0]


def test_whole_number_limits_are_exact():
    cost = [np.array([1000001.0, 1000000.0])] * 2
    loss = [np.array([0.0, 1.0])] * 2
    assert sorted(solve(loss, [Row(cost, 2000001.0)])) == [0, 1]
    assert solve(loss, [Row(cost, 2000000.0)]) == [1, 1]
    assert solve(loss, [Row(cost, 1999999.0)]) is None


def test_two_hundred_layers_with_three_rows_in_a_second():
    rng = np.random.default_rng(0)
    loss = [10 ** rng.uniform(-8, 3) * 4.0 ** -np.arange(8, 1, -1) for _ in range(200)]
    size = rng.choice([3, 1, 4, 4], 200) * 36864
    bits = Row([n * np.arange(8.0, 1, -1) for n in size], 4 * float(size.sum()))
    ms = Row([rng.uniform(0.5, 1, 7) for _ in size], 136.0)
    byte = Row([n * np.arange(8.0, 1, -1) / 8 for n in size], 0.51 * float(size.sum()))
    found, seconds = [], []
    for _ in range(3):
        start = time.process_time()
        found.append(solve(loss, [bits, ms, byte]))
        seconds.append(time.process_time() - start)
    assert found[0] is not None and all(row.holds(found[0]) for row in (bits, ms, byte))
    assert found[0] == found[1] == found[2]
    assert sorted(seconds)[1] < 1.0


def test_solver_prints_nothing(capfd):
    solve([np.array([1.0, 2.0])] * 3, [Row([np.array([2.0, 1.0])] * 3, 5.0)])
    out = capfd.readouterr()
    assert out.out == out.err == ""


def test_limits_that_floats_miss_by_a_rounding_are_not_infeasible():
    """0.1 + 0.2 is above 0.3 in float64, and the solver takes it for equal; 0.1 + 0.1 fits."""
    assert solve([np.array([0.0]), np.array([0.0, 1.0])], [Row([np.array([0.1]), np.array([0.2, 0.1])], 0.3)]) == [0, 1]


@quick_examples(60)
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(0, 12))
def test_many_equal_layers_at_a_limit_between_their_sums(seed, steps):
    """Limits that are sums of costs, computed in another order than the plan's own."""
    x, y = np.random.default_rng(seed).uniform(0.1, 2, 2)
    loss, cost = [np.array([0.0, 1.0])] * 12, [np.array([max(x, y), min(x, y)])] * 12
    least, top = (math.fsum(c[i] for c in cost) for i in (1, 0))
    row = Row(cost, least + (top - least) * steps / 12)
    got = solve(loss, [row])
    assert got is not None and row.holds(got)
    assert abs(sum(got) - (12 - steps)) <= 1  # rounding may ask for one layer more
