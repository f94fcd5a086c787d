"""Recipes are read strictly, and what they mean is told apart from how they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from lampq_tvm.calibrate.fit import WEIGHT_SEARCHES
from lampq_tvm.errors import UnsupportedError, UsageError
from lampq_tvm.quantizers.protocol import names
from lampq_tvm.recipes.find import FOLDER, find_recipe, recipe_file, shipped
from tests.quantize.tiny import tiny_model
from tests.recipes.files import FIRST, changed, recipe

FC1 = {"types": ["fc1"], "activations": "minmax"}
ALL = {"weights": "symmetric", "activations": "uniform", "probabilities": "uniform"}


def test_every_shipped_recipe_is_read_by_its_name_and_by_its_file():
    assert {"default", "nearest", "lampq"} <= set(shipped())
    for name, path in shipped().items():
        assert path.parent == FOLDER and find_recipe(name) == find_recipe(path) == find_recipe(str(path))
        assert len(find_recipe(name).description) <= 160


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("defualt", "unknown recipe 'defualt'; did you mean default"),
        ("zzz", "lampq recipes lists them"),
        ("none.toml", "none.toml: cannot read the recipe"),
        ("./none", "cannot read the recipe"),
        (Path("none"), "cannot read the recipe"),
    ],
)
def test_no_such_recipe(given, words):
    with pytest.raises(UsageError) as error:
        find_recipe(given)
    assert words in str(error.value)


WRONG = {
    "a key": ({"rewrite": ["repq"]}, "rewrite: Extra inputs are not permitted; did you mean rewrites?"),
    "a table's key": (
        {"rounding": {"widest": 5}},
        "rounding.widest: Extra inputs are not permitted; did you mean widest_b",
    ),
    "a rule's key": (
        {"quantizers": [{"layer": "*"}]},
        "quantizers.0.layer: Extra inputs are not permitted; did you mean lay",
    ),
    "a strange key": ({"metric": {"zzz": 1}}, "its keys are name, labels, alpha"),
    "no table": ({"update": None}, "update: Field required"),
    "text for a number": ({"rounding": {"damping": "0.02"}}, "rounding.damping"),
    "text for a switch": ({"update": {"enabled": "yes"}}, "update.enabled"),
    "a number out of range": ({"rounding": {"widest_bits": 8}}, "rounding.widest_bits"),
    "not a number": ({"rounding": {"damping": float("nan")}}, "rounding.damping"),
    "a type": ({"quantizers": [{"types": ["fc3"]}]}, "no layer is of type 'fc3': there are patch_embed, qkv"),
    "a rule for no layer": (
        {"quantizers": [ALL, {**ALL, "layers": []}]},
        "quantizers.1: the rule decides nothing",
    ),
    "a rule without a quantizer": ({"quantizers": [{"types": ["fc1"]}, ALL]}, "the rule decides nothing"),
    "a softmax of a layer": ({"quantizers": [{"types": ["fc*"], "probabilities": "uniform"}, ALL]}, "decides nothing"),
    "weights of an attention": ({"quantizers": [{"types": ["attention"], "weights": "symmetric"}, ALL]}, "decides nothing"),
    "a long description": ({"description": "x" * 161}, "description"),
    "two lines": ({"description": "x\ny"}, "description"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(tmp_path, case):
    values, words = WRONG[case]
    path = changed(tmp_path / "r.toml", **values)
    with pytest.raises(UsageError) as error:
        find_recipe(path)
    assert words in str(error.value) and str(error.value).startswith(f"{path}: not a valid recipe: ")


def test_a_newer_recipe_says_so(tmp_path):
    with pytest.raises(UnsupportedError, match="made by a newer lampq"):
        recipe(tmp_path / "r.toml", version=2)


def test_the_key_is_that_of_the_meaning(tmp_path):
    model, text = tiny_model(), recipe_file("default").read_text()
    key = find_recipe().calibration_key(model)
    same = "# another comment\n" + text.replace("widest_bits = 5\ndamping = 0.02", "damping = 2e-2 # a share\nwidest_bits = 5")
    (tmp_path / "a.toml").write_text(same.replace("description = ", 'description = "x" # '))
    assert find_recipe(tmp_path / "a.toml").calibration_key(model) == key
    rules = [*FIRST, {**ALL, "types": ["fc*", "qkv", "proj"]}, {**ALL, "layers": ["*"]}]  # two rules that come to the same
    for i, values in enumerate(
        ({"update": {"enabled": False}}, {"metric": {"name": "kl"}}, {"pairs": "tied"}, {"quantizers": rules})
    ):
        assert recipe(tmp_path / f"{i}.toml", **values).calibration_key(model) == key
    others = (
        {"rewrites": []},
        {"rounding": {"damping": 0.03}},
        {"rounding": {"widest_bits": 4}},
        {"quantizers": [FC1, *FIRST, ALL]},
    )
    keys = [recipe(tmp_path / f"o{i}.toml", **values).calibration_key(model) for i, values in enumerate(others)]
    assert len({key, *keys}) == 1 + len(keys)


def test_the_first_rule_that_names_a_quantizer_decides(tmp_path):
    first = {"layers": ["blocks.0.*"], "types": ["attention"], "probabilities": "log_sqrt2"}
    found = recipe(tmp_path / "r.toml", quantizers=[first, FC1, ALL])
    assert found.quantizer("activations", "blocks.0.fc1", "fc1", 4) == "minmax"
    assert found.quantizer("weights", "blocks.0.fc1", "fc1", 4) == "symmetric"
    assert found.quantizer("activations", "blocks.0.fc2", "fc2", 4) == "uniform"
    assert found.probabilities(tiny_model(), 8) == {"blocks.0.attn": "log_sqrt2", "blocks.1.attn": "uniform"}
    assert find_recipe().probabilities(tiny_model(), 8) == "uniform"
    with pytest.raises(UsageError, match="no rule gives the weights of head"):
        recipe(tmp_path / "r.toml", quantizers=[{**ALL, "types": ["attention"]}]).quantizer("weights", "head", "head", 4)


def test_every_quantizer_that_a_recipe_may_name_is_there():
    assert set(names("weights")) == set(WEIGHT_SEARCHES)
