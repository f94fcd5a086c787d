import re

import numpy as np
import pytest

from lampq_tvm.allocate.budget import parse_budget
from lampq_tvm.allocate.costs import plan_bytes
from lampq_tvm.allocate.problem import choose_pairing, monotone
from lampq_tvm.allocate.solve import allocate
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.errors import CorruptError, DeviceError, InfeasibleError, UsageError


def budgets(*texts):
    return [parse_budget(t) for t in texts]


def by_bits(layer, w, a):
    """Time that falls with the bits, as on a board where narrow products are faster."""
    return layer.macs / 1e4 * (w + a) / 16


def test_lampq_four_bits(make_model, make_sensitivity):
    model = make_model()
    s = make_sensitivity(model)
    plan = allocate(model, s, budgets("4bit"))
    assert plan.avg_w_bits <= 4 and plan.avg_a_bits <= 4
    assert len({row.w_bits for row in plan.layers}) > 2
    assert all(row.a_bits == (8 if row.type == "patch_embed" else row.w_bits) for row in plan.layers)
    assert plan.notes["predicted_loss"] < sum(s.loss[:, 2, 2])
    assert plan.budgets == ("4bit",) and all("predicted loss" in row.reason for row in plan.layers)
    assert plan == allocate(model, s, budgets("4bit"))


def test_uniform_losses_per_parameter_give_a_uniform_plan(make_model, make_sensitivity):
    model = make_model()
    s = make_sensitivity(model, [x.params for x in model.layers])
    rows = allocate(model, s, budgets("4bit")).layers
    assert {row.w_bits for row in rows} == {4}


def test_a_budget_that_eight_bits_meet_stays_at_eight(make_model, make_sensitivity, make_table):
    model = make_model()
    s = make_sensitivity(model)
    table = make_table(model, by_bits)
    for texts in (["8bit"], ["1GiB"], ["100ms"], ["8bit", "100ms", "1GiB"]):
        plan = allocate(model, s, budgets(*texts), latency=table, tied=True)
        assert {(row.w_bits, row.a_bits) for row in plan.layers} == {(8, 8)}, texts


def test_every_budget_holds_at_once(make_model, make_sensitivity, make_table):
    model = make_model()
    s = make_sensitivity(model, sees=True, a_term=0.3)
    table = make_table(model, by_bits)
    plan = allocate(model, s, budgets("4.5/6bit", "3.2ms", "14000B"), latency=table, base_bytes=500)
    assert plan.avg_w_bits <= 4.5 and plan.avg_a_bits <= 6
    assert plan.notes["ms"] <= 3.2 * (1 + 1e-9) and plan.notes["ms_kind"] == "measured"
    assert plan.notes["payload_bytes"] == plan_bytes(plan, 500) <= 14000


def test_slow_four_bits_are_left_and_come_back(make_model, make_sensitivity, make_table):
    model = make_model()
    s = make_sensitivity(model)

    def slow(layer, w, a):
        return by_bits(layer, w, a) * (10 if w == 4 else 1)

    true, edited = make_table(model, by_bits), make_table(model, slow)
    limit = true.fixed_ms + 0.55 * sum(true.ms(x.name, 8, 8) for x in model.layers)
    for table, has_four in ((true, True), (edited, False), (true, True)):
        plan = allocate(model, s, budgets(f"{limit}ms"), latency=table)
        assert (4 in {row.w_bits for row in plan.layers}) == has_four
        assert plan.notes["ms"] <= limit * (1 + 1e-9)
    assert any("slower here" in row.reason for row in allocate(model, s, budgets(f"{limit}ms"), latency=edited).layers)


@pytest.mark.parametrize(
    "texts",
    [
        ["1bit"],
        ["4/1.5bit"],
        ["1.01ms"],
        ["0.05x"],
        ["600B"],
        ["2.5bit", "18ms"],
        ["2.5bit", "18ms", "1.02x"],
        ["2.5bit", "18ms", "8760B", "2.5bit"],
    ],
)
def test_infeasible_names_a_feasible_budget(make_model, make_sensitivity, make_table, texts):
    model = make_model()
    s = make_sensitivity(model, sees=True, a_term=1.0)
    table = make_table(model, lambda layer, w, a: 16 - w if layer.type == "qkv" else 0.0)
    if len(texts) == 1:
        table = make_table(model, by_bits)
    with pytest.raises(InfeasibleError) as e:
        allocate(model, s, budgets(*texts), latency=table, base_bytes=500)
    found = re.findall(r"([\d./]+(?:bit|ms|x|B)) instead of (\S+?)(?:,| or|$)", str(e.value))
    assert found, str(e.value)
    assert {asked for _, asked in found} <= set(texts)
    if "together these" in str(e.value):
        allocate(model, s, budgets(*(nearest for nearest, _ in found)), latency=table, base_bytes=500)
        return
    for nearest, asked in found:
        rest = [t for t in texts if t != asked]
        allocate(model, s, budgets(nearest, *rest), latency=table, base_bytes=500)


def test_time_budgets_need_a_table(make_model, make_sensitivity, make_table):
    model = make_model()
    s = make_sensitivity(model)
    for text in ("2ms", "0.6x"):
        with pytest.raises(DeviceError, match="latency"):
            allocate(model, s, budgets(text))
        with pytest.raises(DeviceError, match="estimate"):
            allocate(model, s, budgets(text), latency=make_table(model, by_bits, "estimated"))
    table = make_table(model, by_bits, "estimated")
    assert allocate(model, s, budgets("100ms"), latency=table, allow_estimates=True).notes["ms_kind"] == "estimated"
    with pytest.raises(DeviceError, match="float baseline"):
        allocate(model, s, budgets("0.6x"), latency=make_table(model, by_bits).model_copy(update={"float_ms": None}))


def test_tables_of_another_model_are_refused(make_model, make_sensitivity, make_table):
    model, other = make_model(2), make_model(3)
    with pytest.raises(CorruptError, match="another model"):
        allocate(model, make_sensitivity(other), budgets("4bit"))
    with pytest.raises(CorruptError, match="no time for layer"):
        allocate(other, make_sensitivity(other), budgets("9ms"), latency=make_table(model, by_bits))


def test_pairs_missing_in_the_latency_table_are_never_chosen(make_model, make_sensitivity, make_table):
    model = make_model()
    table = make_table(model, by_bits)
    rows = [r.model_copy(update={"pairs": {k: t for k, t in r.pairs.items() if k[0] in "48"}}) for r in table.layers]
    table = table.model_copy(update={"layers": tuple(rows)})
    plan = allocate(model, make_sensitivity(model), budgets("3.6ms"), latency=table)
    assert {row.w_bits for row in plan.layers} == {4, 8}


def test_pairing():
    assert choose_pairing(False, budgets("4bit")).mode == "tied"
    assert choose_pairing(True, budgets("4bit", "2ms")).mode == "tied"
    assert choose_pairing(True, budgets("4/8bit")).mode == "separate"
    assert choose_pairing(False, budgets("4/6bit")).a_bits == 6
    assert choose_pairing(False, budgets("8MiB")).a_bits == 8
    assert choose_pairing(True, budgets("2ms")).mode == "separate"
    assert choose_pairing(True, budgets("4/8bit"), a_bits=5).a_bits == 5
    with pytest.raises(UsageError):
        choose_pairing(False, budgets("4bit"), tied=False)


def test_monotone_sells_no_bit_for_a_dip():
    loss = np.array([[[9.0, np.inf, np.inf], [np.inf, 1.0, np.inf], [np.inf, np.inf, 2.0]]])
    want = np.array([[[9.0, np.inf, np.inf], [np.inf, 2.0, np.inf], [np.inf, np.inf, 2.0]]])
    np.testing.assert_array_equal(monotone(loss), want)


def test_plan_survives_its_file(make_model, make_sensitivity, tmp_path):
    model = make_model()
    plan = allocate(model, make_sensitivity(model), budgets("4bit"))
    plan.save(tmp_path / "plan.json")
    again = type(plan).load(tmp_path / "plan.json")
    assert again == plan
    again.check_fits(model)
    uniform_plan(model, 4, 4).check_fits(model)
