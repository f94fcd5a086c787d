"""Every shipped recipe from the command line to an artifact of the shipped model, and recipes that are files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lampq_tvm.artifact.container import read_artifact
from lampq_tvm.recipes.find import find_recipe, recipe_file, shipped
from tests.cli.conftest import FEW, MODEL
from tests.recipes.files import changed

BENCH = Path(__file__).parents[2] / "bench"
SAMPLE = BENCH / "data" / "fashion_mnist_sample"
TRAINED = ["vit_tiny_patch16_224", "--checkpoint", BENCH / "checkpoints" / "fashion_mnist_vit.safetensors"]
TRAINED += ["--data", SAMPLE / "calib512.npz", "--calib-images", "64", "--sens-images", "64", "--budget", "4bit"]


def last(found):
    assert found.code == 0, found.err
    return json.loads(found.out.splitlines()[-1])


def plan_of(artifact):
    return json.loads(read_artifact(artifact).sections["plan.json"])


def test_recipes_are_listed(lampq):
    rows = last(lampq("recipes", "--json"))["recipes"]
    assert {row["name"] for row in rows} == set(shipped())
    lines = lampq("recipes").out.splitlines()
    assert lines[0].split() == ["recipe", "description"] and len(lines) == 1 + len(rows) and lines[1].startswith("default ")


@pytest.mark.parametrize("name", ["default", "nearest", "lampq", "adalog", "gptq", "vtptq"])
def test_recipes_compile_the_shipped_model(lampq, tmp_path, name):
    """The artifact was compared with the reference, bit for bit, before it was written (all recipes: compiler/test_recipes)."""
    recipe, path = find_recipe(name), tmp_path / "a.lampq"
    found = lampq("compile", *TRAINED, "--recipe", name, "-o", path, "--json")
    assert last(found)["avg_w_bits"] <= 4 and re.search(rf"^  recipe +{name}$", found.err, re.M)
    accuracy = last(lampq("eval", path, "--data", SAMPLE / "test2000.npz", "--images", "500", "--json"))
    assert accuracy["top1"] > (0.88 if name in ("default", "gptq") else 0.80)
    notes = plan_of(path)["notes"]
    assert notes["metric"] == recipe.metric.name
    assert ("update" in notes) == recipe.update.enabled and notes.get("recipe") == (None if name == "default" else name)
    assert all(row["w_bits"] == row["a_bits"] or row["type"] == "patch_embed" for row in plan_of(path)["layers"])


def test_a_file_of_the_same_meaning_gives_the_same_bytes(lampq, data, tmp_path):
    argv = ["compile", *MODEL, *FEW, "--data", data, "--budget", "3bit", "--no-cache"]
    text = recipe_file("default").read_text()
    (tmp_path / "mine.toml").write_text("# mine\n" + text.replace("damping = 0.02", "damping = 2e-2"))
    for name, more in (("a", []), ("b", ["--recipe", tmp_path / "mine.toml"])):
        assert lampq(*argv, *more, "-o", tmp_path / f"{name}.lampq").code == 0
    assert (tmp_path / "a.lampq").read_bytes() == (tmp_path / "b.lampq").read_bytes()


def test_options_win_and_both_are_printed(lampq, data, tmp_path):
    argv = ["plan", *MODEL, *FEW, "--data", data, "--budget", "4bit", "--recipe", "lampq", "-o", tmp_path / "p.json", "--json"]
    found = lampq(*argv, "--metric", "kl", "--no-update")
    assert last(found)["notes"]["metric"] == "kl"
    assert "kl (the recipe: lampq (alpha accuracy, gamma 4.0, mu 3))" in found.err and "off (the recipe: on" in found.err


@pytest.mark.parametrize("verb", ["plan", "compile"])
def test_what_is_no_recipe_gets_one_line(lampq, tmp_path, verb):
    argv = [verb, "m", "-o", "/proc/x", "--target", "no-such-board", "--recipe"]
    found = lampq(*argv, "defualt")
    assert found.code == 2 and found.line.startswith("error: --recipe: unknown recipe 'defualt'; did you mean default or ")
    found = lampq(*argv, tmp_path / "none.toml")
    assert found.code == 2 and "none.toml: cannot read the recipe" in found.line
    found = lampq(*argv, changed(tmp_path / "a.toml", rounding={"dumping": 0.1}))
    assert found.code == 2 and "rounding.dumping" in found.line and found.line.endswith("did you mean damping?")
    found = lampq(*argv, changed(tmp_path / "b.toml", rewrites=["repqq"]))
    assert found.code == 2 and "b.toml: unknown rewrite 'repqq'; did you mean repq or repq_chosen?" in found.line
    found = lampq(*argv, changed(tmp_path / "c.toml", version=2))
    assert found.code == 3 and "newer lampq" in found.line
