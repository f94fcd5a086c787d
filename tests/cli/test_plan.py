"""Plans of a model whose labels mean something: LampQ's update, metrics and pairings."""

import json

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.cli.conftest import MODEL

SIZES = {k: int(v) for k, v in (arg.split("=") for arg in MODEL if "=" in arg)}


@pytest.fixture
def known(tmp_path):
    """Options of a model with a checkpoint, and of images labelled by that very model."""
    torch.manual_seed(0)
    model = timm.create_model(MODEL[0], **SIZES).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    images = np.random.default_rng(0).integers(0, 256, (64, 16, 16), np.uint8)
    with torch.no_grad():
        labels = model((torch.from_numpy(images)[:, None].float() / 255 - 0.5) / 0.5).argmax(1).numpy()
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    few = ["--calib-images", "16", "--sens-images", "64"]
    return [*MODEL, "--checkpoint", tmp_path / "w.safetensors", "--data", tmp_path / "data.npz", *few]


def notes(found):
    assert found.code == 0, found.err
    return json.loads(found.out.splitlines()[-1])["notes"]


def test_update_never_loses(lampq, known, tmp_path):
    plan = notes(lampq("plan", *known, "--budget", "3bit", "-o", tmp_path / "p.json", "--json"))
    assert plan["update"]["accuracy_after"] >= plan["update"]["accuracy_before"] > 0.25
    assert plan["avg_w_bits"] <= 3
    plain = notes(lampq("plan", *known, "--budget", "3bit", "--no-update", "-o", tmp_path / "q.json", "--json"))
    assert "update" not in plain


def test_every_metric_and_pairing(lampq, known, tmp_path):
    common = ["plan", *known, "--no-update", "--json", "-o", tmp_path / "p.json"]
    for argv in (["--metric", "lampq", "--alpha", "loss"], ["--metric", "kl"], ["--separate"]):
        found = notes(lampq(*common, *argv, "--budget", "4bit"))
        assert found["avg_w_bits"] <= 4 and found["avg_a_bits"] <= 4
    fixed = notes(lampq(*common, "--a-bits", "6", "--budget", "4bit", "--budget", "1MiB"))
    assert fixed["avg_a_bits"] == 6


def test_sensitivity_is_what_the_plan_was_chosen_by(lampq, known, tmp_path):
    """Its losses at the plan's widths add up to the plan's own figure; every metric has its table."""
    budget = ["--budget", "4bit", "--no-update"]
    found = lampq("plan", *known, *budget, "-o", tmp_path / "p.json", "--json")
    assert found.code == 0, found.err
    plan = json.loads(found.out.splitlines()[-1])
    told = lampq("sensitivity", *known, *budget, "--json")
    assert told.code == 0, told.err
    table = json.loads(told.out.splitlines()[-1])
    pairs = {row["name"]: f"{row['w_bits']}/{row['a_bits']}" for row in plan["layers"]}
    total = sum(row["loss"][pairs[row["name"]]] for row in table["layers"])
    assert total == pytest.approx(plan["notes"]["predicted_loss"]) and table["metric"] == "fisher_output"
    for metric in ("hawq", "relevance", "random"):
        shown = lampq("sensitivity", *known, *budget, "--metric", metric)
        assert shown.code == 0 and "blocks.1.mlp.fc2" in shown.out, shown.err


def test_interactions_are_measured_and_counted(lampq, known, tmp_path):
    """The plan's figure has their terms; the table's details hold them; it keeps its budget."""
    common = [*known, "--budget", "4bit", "--no-update", "--json"]
    plain = notes(lampq("plan", *common, "-o", tmp_path / "p.json"))
    found = notes(lampq("plan", *common, "--interactions", "-o", tmp_path / "q.json"))
    told = lampq("sensitivity", *known, "--budget", "4bit", "--interactions", "--json")
    terms = json.loads(told.out.splitlines()[-1])["details"]["interactions"]
    assert found["avg_w_bits"] <= 4 and len(terms) > 10 and all(-2 <= r <= 2 for _, _, r in terms)
    assert found["predicted_loss"] != plain["predicted_loss"]


def test_the_front_is_written(lampq, known, tmp_path):
    """One of its points is the plan of its budget; activations stay at 8 bits under bytes alone, and that is said."""
    common = [*known, "--no-update", "--json", "-o", tmp_path / "p.json"]
    found = lampq("plan", *common, "--budget", "20KB", "--front", tmp_path / "front.json")
    assert found.code == 0 and "leaves activations at 8 bits" in found.err, found.err
    front = json.loads((tmp_path / "front.json").read_text())["front"]
    assert len(front) > 5 and [row["payload_bytes"] for row in front] == sorted(row["figure"] for row in front)
    point = front[len(front) // 2]
    again = notes(lampq("plan", *common, "--budget", point["budget"]))
    assert again["payload_bytes"] <= point["payload_bytes"] and again["predicted_loss"] <= point["loss"] * (1 + 1e-9)
    assert lampq("plan", *common, "--budget", "4bit", "--front", tmp_path).code == 8


def test_attentions_have_widths_of_their_own(lampq, known, tmp_path):
    """They keep their budget, are compiled and run as the reference says (the gate), and a plan file holds them."""
    common = [*known, "--budget", "8bit", "--attention-budget", "5"]
    found = lampq("plan", *common, "-o", tmp_path / "p.json", "--json")
    assert found.code == 0, found.err
    plan = json.loads((tmp_path / "p.json").read_text())
    widths = plan["attention_bits"]
    assert set(widths) == {"blocks.0.attn", "blocks.1.attn"} and sum(widths.values()) <= 10
    plan["attention_bits"] = {"blocks.0.attn": 4, "blocks.1.attn": 6}
    (tmp_path / "q.json").write_text(json.dumps(plan))
    made = lampq("compile", *known, "--plan", tmp_path / "q.json", "-o", tmp_path / "a.lampq")
    assert made.code == 0, made.err
    rows = json.loads(lampq("inspect", tmp_path / "a.lampq", "--json").out.splitlines()[-1])["layers"]
    assert {row["name"]: row["w_bits"] for row in rows if row["type"] == "scores"} == {
        "blocks.0.attn.scores": 4, "blocks.1.attn.scores": 6
    }  # fmt: skip
    plan["attention_bits"] = {"blocks.0.attn": 4}
    (tmp_path / "r.json").write_text(json.dumps(plan))
    wrong = lampq("compile", *known, "--plan", tmp_path / "r.json", "-o", tmp_path / "b.lampq")
    assert wrong.code == 7 and "attention_bits does not name 'blocks.1.attn'" in wrong.line
    for argv in (["--attention-bits", "4"], []):
        twice = lampq("plan", *known, "--attention-budget", "5" if argv else "9", *argv, "-o", tmp_path / "s.json")
        assert twice.code == 2 and "--attention-b" in twice.line
