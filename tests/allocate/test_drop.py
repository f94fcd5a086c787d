"""The cheapest plan shown to keep a drop: chosen by some images, judged by others, refused where none is shown to."""

import numpy as np
import pytest

from lampq_tvm.allocate.budget import DropBudget, parse_budget
from lampq_tvm.allocate.drop import RUNGS, allocate_within_drop
from lampq_tvm.allocate.paired import Paired
from lampq_tvm.allocate.problem import Problem, make_problem
from lampq_tvm.allocate.solve import allocate
from lampq_tvm.errors import InfeasibleError

N = 20000


def by_bits(layer, w, a):
    """Time that falls with the bits, as on a board where narrow products are faster."""
    return layer.macs / 1e4 * (w + a) / 16


def share(plan):
    """The share of images that a plan loses: as much as is predicted."""
    return plan.notes["predicted_loss"]


def answers(plan, n=N):
    return Paired(round(share(plan) * n), 0, n)


@pytest.mark.parametrize("points", [0.1, 0.5, 3.0])
def test_drop_gives_the_cheapest_plan_that_passes(make_model, make_sensitivity, make_table, points):
    model = make_model()
    s = make_sensitivity(model)
    judged = []

    def judge(plan):
        judged.append(plan)
        return answers(plan)

    plan = allocate_within_drop(make_problem(model, s, []), DropBudget(points), lambda p: answers(p).bound_points, judge)
    assert answers(plan).bound_points <= points and plan.avg_w_bits < 8 and plan.notes["cheapest_by"] == "bytes"
    assert plan.layers == judged[-1].layers and plan.notes["plans_judged"] == len(judged) <= RUNGS
    assert [p.notes["payload_bytes"] for p in judged] == sorted((p.notes["payload_bytes"] for p in judged), reverse=True)
    assert plan.notes["drop_bound_points"] == answers(plan).bound_points and plan.notes["judged_images"] == N
    tighter = allocate(model, s, [parse_budget(f"{plan.avg_w_bits - 6 / 64 * 1.5}bit")])
    assert answers(tighter).bound_points > points

    timed = make_problem(model, s, [], latency=make_table(model, by_bits))
    found = allocate_within_drop(timed, DropBudget(points), lambda p: answers(p).bound_points, answers)
    assert found.notes["cheapest_by"] == "ms"


def test_a_plan_that_only_those_liked_that_chose_it_is_not_given(make_model, make_sensitivity):
    model = make_model()
    problem = make_problem(model, make_sensitivity(model), [])
    plan = allocate_within_drop(problem, DropBudget(0.5), lambda plan: 0.0, answers)  # the images that choose see nothing
    assert answers(plan).bound_points <= 0.5 and plan.notes["plans_judged"] > 1


def test_drop_that_nothing_is_shown_to_keep(make_model, make_sensitivity):
    model = make_model()
    problem = make_problem(model, make_sensitivity(model), [])
    with pytest.raises(InfeasibleError, match=r"10\.00 points, at most 1\d\.\d\d .*no number of images") as caught:
        allocate_within_drop(problem, DropBudget(0.5), lambda plan: 0.0, lambda plan: Paired(100, 0, 1000))
    assert caught.value.exit_code == 4
    with pytest.raises(InfeasibleError, match=r"about \d+ images would be enough"):
        allocate_within_drop(problem, DropBudget(0.5), lambda plan: 0.0, lambda plan: Paired(1, 0, 600))


class Remembered(Problem):
    """A problem that solves and describes each cost level once."""

    def try_solve(self, extra=()):
        return self._once(("solve", *(row.limit for row in extra)), lambda: Problem.try_solve(self, extra))

    def plan(self, choice):
        return self._once(("plan", *choice), lambda: Problem.plan(self, choice))

    def _once(self, key, make):
        known = self.__dict__.setdefault("known", {})
        if key not in known:
            known[key] = make()
        return known[key]


def test_plans_that_lose_more_are_given_no_more_often_than_promised(make_model, make_sensitivity):
    """400 draws of 700 judging images, with a choice that finds everything fine."""
    model = make_model()
    problem = Remembered(**vars(make_problem(model, make_sensitivity(model), [])))
    broken = given = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)

        def judge(plan, rng=rng):
            lost, gained = share(plan) + 0.002, 0.002
            return Paired(*(int(x) for x in rng.multinomial(700, [lost, gained, 1 - lost - gained])[:2]), 700)

        try:
            plan = allocate_within_drop(problem, DropBudget(1.0), lambda plan: 0.0, judge)
        except InfeasibleError:
            continue
        given += 1
        broken += 100 * share(plan) > 1.0
    assert given > 100 and broken <= 0.05 * 400 + 3 * (0.05 * 0.95 * 400) ** 0.5
