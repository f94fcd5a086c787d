"""`lampq debug`: a layer that was spoiled on purpose comes first; where no calibration is at hand, that is said."""

import dataclasses
import json

import pytest

from lampq_tvm.api.stages import Stages
from lampq_tvm.quantizers.protocol import QUANTIZERS
from tests.cli.test_plan import known  # noqa: F401  (a fixture)

SPOILED = "blocks.1.mlp.fc1"


def rows(found):
    assert found.code == 0, found.err
    return json.loads(found.out.splitlines()[-1])


def cut(calibration):
    """The calibration with one layer's input range cut to a tenth."""
    inputs = calibration.activations[SPOILED]
    small = {b: dataclasses.replace(q, scale=q.scale / 10) for b, q in inputs.items()}
    return dataclasses.replace(calibration, activations={**calibration.activations, SPOILED: small})


@pytest.fixture
def compiled(lampq, known, tmp_path):  # noqa: F811
    """Compiles the model; where it lies, and the images."""

    def run(*options):
        made = lampq("compile", *known, *options, "-o", tmp_path / "a.lampq")
        assert made.code == 0, made.err
        return tmp_path / "a.lampq", tmp_path / "data.npz"

    return run


def test_a_spoiled_layer_comes_first(lampq, compiled, monkeypatch):
    real = Stages.refitted
    with monkeypatch.context() as patched:
        patched.setattr(Stages, "refitted", lambda self, *args: cut(real(self, *args)))
        artifact, data = compiled("--budget", "6bit", "--recipe", "nearest")
    found = rows(lampq("debug", artifact, "--data", data, "--json"))
    first = found["layers"][0]
    assert first["name"] == SPOILED and first["saturated"] > 0.3 and first["points_won"] > 0
    assert first["hint"] == f"--bits '{SPOILED}=8/8'"
    assert first["snr_db"] < 5 and first["saturated"] == max(row["saturated"] or 0 for row in found["layers"])
    assert found["n"] == 64 and found["fp32_top1"] > found["top1"] + 0.05
    text = lampq("debug", artifact, "--data", data).out.splitlines()
    assert text[0].startswith("layer") and text[1].startswith(SPOILED) and text[-1].endswith(first["hint"])


def test_what_layers_read_is_decoded(lampq, compiled):
    """At 8 bits every layer's codes stand for what the float model's layer reads; a table's levels too."""
    artifact, data = compiled("--budget", "8bit", "--recipe", "nearest")
    for row in rows(lampq("debug", artifact, "--data", data, "--json"))["layers"]:
        if row["type"] == "patch_embed":  # it reads the image itself, whose codes are exact
            assert row["snr_db"] is None and row["hint"] is None
            continue
        assert row["snr_db"] > 20 and row["cosine"] > 0.99 and row["saturated"] < 0.01 and row["hint"] is None, row
    artifact, data = compiled("--a-bits", "4", "--budget", "8bit")
    by_name = {row["name"]: row for row in rows(lampq("debug", artifact, "--data", data, "--json"))["layers"]}
    assert all(by_name[f"blocks.{i}.mlp.fc2"]["cosine"] > 0.95 for i in range(2))
    assert QUANTIZERS.find("fitted").roles == {"activations"}


def test_without_labels_the_float_model_is_the_measure(lampq, compiled, tmp_path):
    import numpy as np

    artifact, data = compiled("--budget", "3bit", "--no-update")
    np.savez(tmp_path / "plain.npz", images=np.load(data)["images"])
    found = rows(lampq("debug", artifact, "--data", tmp_path / "plain.npz", "--images", "16", "--json"))
    assert found["n"] == 16 and found["fp32_top1"] == 1.0


def test_weights_may_be_given(lampq, compiled, tmp_path, monkeypatch):
    """In an empty cache the same table comes from the checkpoint and the images that were compiled with."""
    artifact, data = compiled("--budget", "4bit", "--no-update")
    before = rows(lampq("debug", artifact, "--data", data, "--json"))
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "empty"))
    alone = lampq("debug", artifact, "--data", data)
    assert alone.code == 2 and "--checkpoint" in alone.line
    from tests.cli.conftest import MODEL

    weights = ["--checkpoint", tmp_path / "w.safetensors", *MODEL[1:], "--calib-images", "16"]
    assert rows(lampq("debug", artifact, "--data", data, *weights, "--json")) == before


def test_bad_input(lampq, compiled, tmp_path):
    artifact, data = compiled("--budget", "8bit")
    assert lampq("debug", artifact, "--data", data, "--images", "0").code == 2
    assert lampq("debug", artifact, "--data", tmp_path / "nowhere").code == 2
    assert lampq("debug", data, "--data", data).code == 7
