"""Images without labels serve where nothing asks for labels."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import FEW, MODEL
from tests.cli.test_bad_input import trained


@pytest.fixture(params=["npz", "flat folder"])
def unlabelled(request, tmp_path):
    images = np.random.default_rng(5).integers(0, 256, (12, 16, 16), np.uint8)
    if request.param == "npz":
        np.savez(tmp_path / "u.npz", images=images)
        return tmp_path / "u.npz"
    folder = tmp_path / "flat"
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


def test_an_8_bit_plan_and_its_eval_need_no_labels(lampq, unlabelled, tmp_path):
    out = tmp_path / "x.lampq"
    found = lampq("compile", *MODEL, *FEW, "--checkpoint", trained(tmp_path), "--data", unlabelled, "-o", out)
    assert found.code == 0, found.err
    found = lampq("eval", out, "--data", unlabelled, "--json")
    figures = json.loads(found.out.splitlines()[-1])
    assert found.code == 0 and figures["n"] == 12 and figures["top1"] is None and figures["fp32_top1"] is None
    assert 0.5 <= figures["agreement_fp32"] <= 1
    found = lampq("eval", out, "--data", unlabelled, "--no-fp32")
    assert found.code == 2 and "no labels" in found.line


def test_sensitivity_samples_labels_where_there_are_none(lampq, unlabelled, tmp_path):
    argv = [*MODEL, *FEW, "--checkpoint", trained(tmp_path), "--data", unlabelled, "--budget", "4bit"]
    found = lampq("plan", *argv, "-o", tmp_path / "p.json", "--json")
    assert found.code == 0, found.err
    assert json.loads(found.out.splitlines()[-1])["avg_w_bits"] <= 4


def test_a_promise_about_accuracy_needs_labels(lampq, unlabelled, tmp_path):
    argv = [*MODEL, *FEW, "--checkpoint", trained(tmp_path), "--data", unlabelled, "--max-drop", "1"]
    found = lampq("plan", *argv, "-o", tmp_path / "p.json")
    assert found.code == 2 and "labels" in found.line
