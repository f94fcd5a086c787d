import itertools

import numpy as np
import pytest

from lampq_tvm.allocate.budget import parse_budget
from lampq_tvm.allocate.problem import make_problem
from lampq_tvm.allocate.update import PAPER_ERROR, ReconstructionError, iterative_update
from lampq_tvm.errors import UsageError
from lampq_tvm.recipes.schema import UpdateOptions
from lampq_tvm.sensitivity.measure import sensitivity
from lampq_tvm.sensitivity.table import Sensitivity
from tests.recipes.files import recipe


@pytest.fixture
def problem(calibrated, batches, units):
    s = sensitivity(calibrated, batches, units=units)
    return make_problem(calibrated.model, s, [parse_budget("4bit"), parse_budget("3450B")], base_bytes=0)


def keeps(problem, plan):
    return plan.avg_w_bits <= 4 and plan.avg_a_bits <= 4 and plan.notes["payload_bytes"] <= 3450


def test_error_falls_with_bits_and_is_relative(calibrated):
    error = ReconstructionError(calibrated)
    for layer in calibrated.model.layers:
        image = layer.type == "patch_embed"
        by_bits = [error(layer.name, (b, 8 if image else b)) for b in (2, 4, 6, 8)]
        assert all(x > y for x, y in itertools.pairwise(by_bits)), layer.name
        assert by_bits[0] < 1.5 and by_bits[3] < 1e-3


@pytest.mark.parametrize("ratios", ["measured", "paper"])
def test_every_tried_plan_keeps_every_budget_and_the_best_one_wins(calibrated, problem, ratios):
    start, options = problem.plan(problem.solve()), UpdateOptions(ratios=ratios, patience=200)
    tried = []

    def evaluate(plan):
        """A made-up accuracy that likes wide qkv layers."""
        tried.append(plan)
        return sum(row.w_bits for row in plan.layers if row.type == "qkv") / 100

    found = iterative_update(calibrated, problem, start, evaluate, options)
    assert len(tried) > 2 and all(keeps(problem, plan) for plan in tried)
    assert found.notes["update"]["accuracy_after"] == max(evaluate(p) for p in list(tried))
    assert found.notes["update"]["swaps"] and found != start
    assert found == iterative_update(calibrated, problem, start, evaluate, options)


def test_stops_at_the_first_swap_without_gain(calibrated, problem):
    start, calls = problem.plan(problem.solve()), []
    found = iterative_update(calibrated, problem, start, lambda plan: calls.append(plan) or 0.5)
    assert len(calls) == 2 and found.layers == start.layers
    assert found.notes["update"] == {"accuracy_before": 0.5, "accuracy_after": 0.5, "swaps": [], "ratios": "measured"}
    assert calls[1].layers != start.layers


def test_the_first_swap_is_the_best_of_gain_minus_degradation(calibrated, batches, units):
    model = calibrated.model
    s = sensitivity(calibrated, batches, units=units)
    problem = make_problem(model, s, [parse_budget("4bit")])
    start = problem.plan(problem.solve())
    tried = []
    iterative_update(calibrated, problem, start, lambda plan: tried.append(plan) or 0.5, UpdateOptions(ratios="paper"))
    changed = {row.name: row.w_bits - start.layer(row.name).w_bits for row in tried[1].layers}
    (up,), (down,) = ([n for n, d in changed.items() if d == x] for x in (1, -1))
    error = ReconstructionError(calibrated)

    def change(name, step):
        row = start.layer(name)
        if not 2 <= row.w_bits + step <= 8:
            return None
        return error(name, (row.w_bits, row.a_bits)) * (PAPER_ERROR[row.w_bits + step] / PAPER_ERROR[row.w_bits] - 1)

    best = None
    for u in model.layers:
        for d in model.layers:
            gain, loss = change(u.name, 1), change(d.name, -1)
            if u == d or gain is None or loss is None:
                continue
            w = start.avg_w_bits * sum(x.params for x in model.layers) + u.params - d.params
            a = start.avg_a_bits * sum(x.params for x in model.layers[1:])
            a += (u.params if u.type != "patch_embed" else 0) - (d.params if d.type != "patch_embed" else 0)
            if w > 4 * sum(x.params for x in model.layers) or a > 4 * sum(x.params for x in model.layers[1:]):
                continue
            if best is None or -gain - loss > best[0]:
                best = (-gain - loss, u.name, d.name)
    assert best[1:] == (up, down)


def test_separate_pairs_swap_on_either_side(calibrated):
    model = calibrated.model
    loss = np.ones((len(model.layers), 7, 7)) * np.arange(20, 13, -1)[:, None] * np.arange(20, 13, -1)
    s = Sensitivity("kl", True, tuple(x.name for x in model.layers), (2, 3, 4, 5, 6, 7, 8), loss)
    problem = make_problem(model, s, [parse_budget("4/5bit")])
    sides = set()

    def evaluate(plan):
        moved = [(r.w_bits - start.layer(r.name).w_bits, r.a_bits - start.layer(r.name).a_bits) for r in plan.layers]
        sides.update("w" if w else "a" for w, a in moved if w or a)
        assert plan.avg_w_bits <= 4 and plan.avg_a_bits <= 5
        return 0.5

    start = problem.plan(problem.solve())
    iterative_update(calibrated, problem, start, evaluate, UpdateOptions(patience=60))
    assert sides == {"w", "a"}


@pytest.mark.parametrize("wrong", [{"ratios": "guess"}, {"patience": 0}])
def test_wrong_options(tmp_path, wrong):
    with pytest.raises(UsageError):
        recipe(tmp_path / "r.toml", update=wrong)
