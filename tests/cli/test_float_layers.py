"""Layers that stay float16 on the command line: plans, and targets that cannot compute them."""

import json

import pytest

from tests.cli.conftest import FEW, MODEL


def widths(found):
    assert found.code == 0, found.err
    table = json.loads(found.out.splitlines()[-1])
    return {row["name"]: (row["w_bits"], row["a_bits"]) for row in table["layers"]}, table


def test_named_layers_and_the_rest_at_8_bits(lampq, tmp_path):
    out = tmp_path / "p.json"
    rows, _ = widths(lampq("plan", *MODEL, *FEW, "--float-layers", "head,*.fc2", "-o", out, "--json"))
    assert {name for name, pair in rows.items() if pair == (16, 16)} == {"head", "blocks.0.mlp.fc2", "blocks.1.mlp.fc2"}
    assert {pair for pair in rows.values() if pair != (16, 16)} == {(8, 8)}


def test_all_of_it_in_16_bits(lampq, tmp_path):
    out = tmp_path / "p.json"
    rows, table = widths(lampq("plan", *MODEL, *FEW, "--budget", "16bit", "-o", out, "--json"))
    assert table["avg_w_bits"] == table["avg_a_bits"] == 16 and json.loads(out.read_text())["attention_bits"] == 16
    assert rows["patch_embed.proj"] == (16, 8)


def test_a_model_with_biased_scores_in_16_bits(lampq, tmp_path):
    """All of it for a GPU, its logits checked, by budget or with attention alone."""
    out, model = tmp_path / "m.lampq", ["beit_base_patch16_224", *MODEL[1:], *FEW]
    for argv in (["--budget", "16bit"], ["--attention-bits", "16"]):
        found = lampq("compile", *model, *argv, "--target", "jetson-agx-orin-64gb", "-o", out)
        assert found.code == 0 and out.exists(), found.err
        out.unlink()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--float-layers", "*.fc2"], "blocks.0.mlp.fc2 stays float16, and float layers run on CUDA targets only"),
        (["--budget", "16bit"], "patch_embed.proj stays float16"),
        (["--attention-bits", "16"], "attention stays float16"),
    ],
)
def test_cpus_refuse_them_by_name(lampq, tmp_path, argv, words):
    found = lampq("compile", *MODEL, *FEW, *argv, "-o", tmp_path / "m.lampq")
    assert found.code == 3 and words in found.line and not (tmp_path / "m.lampq").exists()


def test_a_plan_with_float_layers_is_refused_too(lampq, tmp_path):
    plan = tmp_path / "p.json"
    assert lampq("plan", *MODEL, *FEW, "--float-layers", "head", "-o", plan).code == 0
    found = lampq("compile", *MODEL, *FEW, "--plan", plan, "-o", tmp_path / "m.lampq")
    assert found.code == 3 and "head stays float16" in found.line


def test_bad_patterns_and_widths(lampq, tmp_path):
    out = ["-o", tmp_path / "m.lampq"]
    found = lampq("compile", *MODEL, *FEW, "--float-layers", "fc9", *out)
    assert found.code == 2 and "no layer is called 'fc9'" in found.line
    assert "give 2..8, or 16" in lampq("compile", *MODEL, "--attention-bits", "12", *out).line
    plan = tmp_path / "p.json"
    lampq("plan", *MODEL, *FEW, "-o", plan)
    plan.write_text(plan.read_text().replace('"w_bits": 8', '"w_bits": 12', 1))
    found = lampq("compile", *MODEL, *FEW, "--plan", plan, *out)
    assert found.code == 7 and "12 bits are not supported" in found.line
