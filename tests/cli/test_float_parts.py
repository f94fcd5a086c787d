"""A model of convolutions through the command line: all of it but its first and its last layer stays float."""

from __future__ import annotations

import json

import numpy as np
import pytest
import timm
import torch

SIZES = {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16], "num_classes": 4}
ARGUMENTS = [x for k, v in SIZES.items() for x in ("--model-arg", f"{k}={json.dumps(v)}")]
MODEL = ["convnext_atto", *ARGUMENTS, "--size", "32"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "data.npz"
    rng = np.random.default_rng(0)
    np.savez(path, images=rng.integers(0, 256, (40, 32, 32, 3), np.uint8), labels=np.arange(40) % 4)
    return path


@pytest.fixture
def artifact(lampq, images, tmp_path):
    path = tmp_path / "convnext.lampq"
    found = lampq("compile", *MODEL, "--data", images, "--calib-images", "32", "--sens-images", "32", "-o", path)
    assert found.code == 0, found.err
    return path


def test_it_answers_as_torch_does(lampq, artifact, images, tmp_path):
    rng = np.random.default_rng(1)
    x = rng.normal(0, 1, (3, 3, 32, 32)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    assert lampq("run", artifact, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy").code == 0
    torch.manual_seed(0)
    module = timm.create_model("convnext_atto", **SIZES).eval()
    spec = json.loads(lampq("inspect", artifact, "--json").out.splitlines()[-1])["input"]
    mean, std = (np.array(spec[k], np.float32).reshape(-1, 1, 1) for k in ("mean", "std"))
    pixels = np.rint((x * std + mean) * 255).clip(0, 255)  # what an artifact of pixels sees of a float image
    with torch.no_grad():
        wanted = module(torch.from_numpy(((pixels / 255 - mean) / std).astype(np.float32))).numpy()
    got = np.load(tmp_path / "y.npy")
    assert got.shape == wanted.shape and np.corrcoef(got.ravel(), wanted.ravel())[0, 1] > 0.999
    told = json.loads(lampq("eval", artifact, "--data", images, "--json").out.splitlines()[-1])
    assert told["n"] == 40 and told["agreement_fp32"] >= 0.9


def test_what_stays_float_is_told(lampq, artifact):
    told = json.loads(lampq("inspect", artifact, "--json").out.splitlines()[-1])
    operators = {name for part in told["parts"] for name in part["operators"]}
    assert {"conv2d", "gelu"} <= operators and [row["type"] for row in told["layers"]] == ["patch_embed", "head"]
    integer = 64 * 48 * 8 + 16 * 4
    assert sum(part["macs"] for part in told["parts"]) == told["macs"] - integer > 2 * integer
    table = lampq("inspect", artifact).out
    assert "stays float" in table and "conv2d" in table
    assert json.loads(lampq("bench", artifact, "--json").out.splitlines()[-1])["median_ms"] > 0
    examined = lampq("doctor", *MODEL)
    assert examined.code == 0 and "stays float" in examined.out


def test_strict_refuses_it_by_name(lampq, images, tmp_path):
    found = lampq("compile", *MODEL, "--strict-integer", "--data", images, "-o", tmp_path / "no.lampq")
    assert found.code == 3 and "timm:convnext_atto: no attention layer in this model" in found.line
    assert not (tmp_path / "no.lampq").exists()


def test_a_gpu_refuses_it_for_now(lampq, images, tmp_path):
    target = ["--target", "jetson-agx-orin-64gb"]
    found = lampq("compile", *MODEL, *target, "--data", images, "-o", tmp_path / "no.lampq")
    assert found.code == 3 and "no CUDA kernel for a part that stays float" in found.line and "orin-64gb:cpu" in found.line


def test_an_image_that_is_no_square(lampq, images):
    """Height and width apart, for a model that is built for one size and for one that is not."""
    for model in (["vit_tiny_patch16_224", "--model-arg", "depth=1"], MODEL[:-2]):
        told = json.loads(lampq("doctor", *model, "--size", "32x64", "--json").out.splitlines()[-1])
        patch = next(row for row in told["layers"] if row["type"] == "patch_embed")
        side = 16 if "vit" in model[0] else 4
        assert patch["macs"] == (32 // side) * (64 // side) * patch["params"] and told["refused"] == []
    for wrong in ("32x", "axb", "1x2x3", "0x32"):
        found = lampq("doctor", *MODEL[:-2], "--size", wrong)
        assert found.code == 2 and "--size" in found.line
