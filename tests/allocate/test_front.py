"""The Pareto front: its points are what the program itself gives under their budgets, and none beats another."""

import pytest

from lampq_tvm.allocate.budget import parse_budget
from lampq_tvm.allocate.front import front
from lampq_tvm.allocate.problem import make_problem
from lampq_tvm.allocate.solve import allocate
from lampq_tvm.errors import UsageError
from tests.allocate.test_solve import budgets, by_bits


@pytest.mark.parametrize(
    ("texts", "options"),
    [(["4bit"], {"tied": True}), (["4/8bit"], {"a_bits": 8}), (["1MiB"], {}), (["6ms", "5bit"], {"tied": True})],
)
def test_its_budgets_give_its_points(make_model, make_sensitivity, make_table, texts, options):
    model = make_model()
    s, table = make_sensitivity(model), make_table(model, by_bits)
    points = front(make_problem(model, s, budgets(*texts), latency=table, **options), 15)
    assert len(points) > 5
    figures, losses = [p.figure for p in points], [p.loss for p in points]
    assert figures == sorted(figures) and losses == sorted(losses, reverse=True)
    for point in points:
        again = allocate(model, s, [parse_budget(point.budget), *budgets(*texts[1:])], latency=table, **options)
        assert again.notes["predicted_loss"] <= point.loss * (1 + 1e-9)
    widest, least = points[-1].plan, points[0].plan
    if len(texts) == 1:
        assert {row.w_bits for row in widest.layers} == {8} and {row.w_bits for row in least.layers} == {2}
    else:  # the other budget holds on all of it
        assert all(point.plan.avg_w_bits <= 5 for point in points)


def test_without_a_budget_nothing_moves(make_model, make_sensitivity):
    model = make_model()
    with pytest.raises(UsageError, match="a front needs a budget"):
        front(make_problem(model, make_sensitivity(model), []))
