"""A request's recipe: names that there are, options that win, and keys that hold what a stage reads and no more."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lampq_tvm.api.methods import recipes, timed_for
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.api.requests import MeasureRequest
from lampq_tvm.bitplan import BitPlan
from lampq_tvm.errors import CorruptError, UsageError
from lampq_tvm.latency.table import LatencyTable
from lampq_tvm.quantizers.twin_log import TwinLogWeights
from lampq_tvm.recipes.schema import MetricOptions
from tests.recipes.files import FIRST, changed

MODEL = "vit_tiny_patch16_224"
ARGS = {"img_size": 16, "patch_size": 8, "in_chans": 1, "num_classes": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}
ALL = {"weights": "symmetric", "activations": "uniform", "probabilities": "uniform"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "cache"))


def pipeline(plan=None, **options):
    more = {"model_args": ARGS, "mean": (0.5,), "std": (0.5,), "calib_images": 8, "sens_images": 8}
    return Pipeline(Options(MODEL, **more, **options), plan)


def test_the_list_begins_with_the_default():
    rows = recipes()
    assert rows[0]["name"] == "default" and {"nearest", "lampq"} <= {row["name"] for row in rows}
    assert all(row["description"] and row["file"].endswith(f"{row['name']}.toml") for row in rows)


def test_times_are_those_of_the_recipes_kernels():
    """`measure` calibrates by a recipe as `compile` does: weights with levels of their own multiply by other kernels."""
    request = MeasureRequest(model=MODEL, recipe="lrq", model_args=ARGS, mean=(0.5,), std=(0.5,), calib_images=8)
    kinds = [type(by_bits[4]) for by_bits in Pipeline(Options.of(request)).calibration.weights.values()]
    assert kinds.count(TwinLogWeights) >= len(kinds) - 1


def test_a_table_of_other_kernels_is_told(tmp_path, capsys):
    table = LatencyTable(target="host", device="local", threads=1, layers=())
    for measured, used, told in (("lrq", "default", True), ("default", "lrq", True), ("lrq", "lrq", False)):
        timed_for(table, Options(MODEL, recipe=measured)).save(tmp_path / "t.json")
        _ = pipeline(recipe=used, latency_table=tmp_path / "t.json").given_table
        assert (f"has the times of the recipe {measured}, and this is {used}" in capsys.readouterr().err) is told


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rewrites": ["repk"]}, "unknown rewrite 'repk'; did you mean repq"),
        ({"quantizers": [{**ALL, "weights": "symetric"}]}, "'symetric'; did you mean symmetric"),
        ({"quantizers": [ALL, {"probabilities": "log3"}]}, "'log3'; did you mean log2"),
        ({"rounding": {"method": "neareat"}}, "unknown rounding 'neareat'; did you mean nearest?"),
        ({"rounding": {"method": "nearest"}}, "the rounding nearest has no damping"),
        ({"rounding": {"damping": None}}, "the rounding compensated needs damping"),
        ({"metric": {"name": "fishr"}}, "unknown metric 'fishr'; did you mean fisher"),
        ({"metric": {"alpha": "loss"}}, "the metric fisher_output has no alpha"),
        ({"metric": {"name": "kl", "labels": "sampled"}}, "the metric kl has no labels"),
        ({"metric": {"name": "lampq"}, "pairs": "separate"}, "does not see activations"),
    ],
)
def test_names_that_there_are_not(tmp_path, values, words):
    path = changed(tmp_path / "mine.toml", **values)
    with pytest.raises(UsageError) as error:
        Options("m", recipe=path)
    assert words in str(error.value) and str(path) in str(error.value)


def test_options_win_and_both_are_shown():
    plain = Options("m", recipe="lampq")
    assert plain.method.metric.name == "lampq" and plain.method.pairs == "tied" and plain.method.update.enabled
    assert plain.shown()["metric"] == "lampq (alpha accuracy, gamma 4.0, mu 3)"
    given = Options("m", recipe="lampq", metric="kl", update=False, softmax="log_sqrt2", tied=False)
    method, shown = given.method, given.shown()
    assert (method.metric.name, method.pairs, method.update.enabled) == ("kl", "separate", False)
    assert method.quantizer("probabilities", "x", "attention", 8) == "log_sqrt2"
    assert shown["recipe"] == "lampq" and shown["metric"].startswith("kl (the recipe: lampq (")
    assert shown["softmax"] == "log_sqrt2 (the recipe: adalog)" and shown["update"].startswith("off (the recipe: on")
    assert shown["pairs"] == "separate (the recipe: tied)" and shown["rewrites"] == "repq"
    loss = Options("m", recipe="lampq", alpha="loss").method.metric
    assert loss.alpha == "loss" and loss.mu == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"recipe": "lampq", "tied": False}, "--separate: the metric lampq does not see activations"),
        ({"recipe": "nearest", "alpha": "loss"}, "--alpha: the metric fisher_output has no alpha"),
        ({"recipe": "no-such"}, "--recipe: unknown recipe 'no-such'"),
    ],
)
def test_options_that_do_not_go_with_a_recipe(options, words):
    with pytest.raises(UsageError) as error:
        Options("m", **options)
    assert words in str(error.value)


# What is changed in a recipe, and the stages whose keys that touches.
TOUCHED = {
    "nothing": ({}, set()),
    "description": ({"description": "another"}, set()),
    "rewrites": ({"rewrites": []}, {"calibrate", "sensitivity"}),
    "damping": ({"rounding": {"damping": 0.5}}, {"calibrate", "sensitivity"}),
    "metric": ({"metric": {"name": "kl"}}, {"sensitivity"}),
    "labels": ({"metric": {"labels": "sampled"}}, {"sensitivity"}),
    "patience": ({"update": {"patience": 3}}, set()),
    "probabilities": ({"quantizers": [*FIRST, {**ALL, "probabilities": "log_sqrt2"}]}, set()),
}


@pytest.mark.parametrize("case", TOUCHED)
def test_a_key_holds_what_its_stage_reads_and_no_more(tmp_path, case):
    values, touched = TOUCHED[case]
    before = pipeline()
    after = pipeline(recipe=changed(tmp_path / "r.toml", **values))
    keys = {"calibrate": "calibration_key", "sensitivity": "sensitivity_key"}
    assert {stage for stage, key in keys.items() if getattr(before, key) != getattr(after, key)} == touched


def test_a_recipe_covers_the_model_or_is_refused_before_any_work(tmp_path, capsys):
    for role in ALL:
        path = changed(tmp_path / "r.toml", quantizers=[{k: v for k, v in ALL.items() if k != role}])
        with pytest.raises(UsageError, match=f"no rule gives the {role} of "):
            pipeline(recipe=path, budgets=("4bit",)).check()
    rules = [{"layers": ["block.0.*", "blocks.1.*"], "weights": "symmetric"}, ALL]
    request = pipeline(recipe=changed(tmp_path / "r.toml", quantizers=rules))
    request.check()
    request.check()  # as where it tunes first
    assert capsys.readouterr().err == "warning: the recipe has a rule for layers 'block.0.*', and no layer is called so\n"


def test_labels_stay_with_a_metric_that_reads_them(tmp_path):
    path = changed(tmp_path / "r.toml", metric={"labels": "sampled"})
    assert Options("m", recipe=path, metric="lampq").method.metric.labels == "sampled"
    assert Options("m", recipe=path, metric="kl").method.metric == MetricOptions(name="kl")


def test_a_recipe_drives_the_stages(tmp_path):
    """Rewrites, rounding, quantizers by pattern and the metric each do what the file says."""
    rules = [{"layers": ["blocks.0.*"], "types": ["attention"], "probabilities": "log_sqrt2"}, ALL]
    path = changed(tmp_path / "mine.toml", base="nearest", quantizers=rules, metric={"name": "kl"})
    mine, default = pipeline(recipe=path, budgets=("3bit",)), pipeline(budgets=("3bit",))
    for name, tensor in mine.model.tensors.items():
        assert np.array_equal(mine.calibration.model.tensors[name], tensor)
    assert any(not np.array_equal(default.calibration.model.tensors[k], v) for k, v in default.model.tensors.items())
    assert not any(mine.calibration.codes.values()) and all(set(v) == {2, 3, 4, 5} for v in default.calibration.codes.values())
    assert mine.sensitivity.metric == "kl" and default.sensitivity.metric == "fisher_output"
    attention = sorted(mine.plan.softmax)
    assert [mine.plan.softmax[name] for name in attention] == ["log_sqrt2", "uniform"] and default.plan.softmax == "uniform"
    tables = [mine.quantized.tensors[f"{name}.P"] for name in attention]
    assert len(set(tables[0].tolist())) < len(set(tables[1].tolist()))
    assert "recipe" not in default.plan.notes and mine.plan.notes["recipe"] == "mine"


def test_a_plan_of_another_recipe_is_told(tmp_path, capsys):
    plain = pipeline(recipe="nearest", budgets=("4bit",))
    plain.plan.save(tmp_path / "p.json")
    _ = pipeline(tmp_path / "p.json").given_plan
    assert "made under the recipe nearest, and this is default" in capsys.readouterr().err
    _ = pipeline(tmp_path / "p.json", recipe="nearest").given_plan
    assert "recipe" not in capsys.readouterr().err
    again = pipeline(tmp_path / "p.json", recipe="nearest").quantized
    assert all(np.array_equal(again.tensors[k], v) for k, v in plain.quantized.tensors.items())


def test_a_plan_may_name_a_quantizer_for_each_attention(tmp_path):
    made = pipeline(budgets=("8bit",)).plan
    for wrong, words in (({"blocks.0.attn": "uniform"}, "softmax does not name"), ({"x": "uniform"}, "no attention")):
        path = tmp_path / "p.json"
        path.write_text(json.dumps({**made.model_dump(), "softmax": wrong}))
        with pytest.raises(CorruptError, match=words):
            BitPlan.load(path).check_fits(pipeline().model)
