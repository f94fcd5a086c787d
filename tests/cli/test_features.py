"""Features of some blocks in place of an answer, through the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import timm
import torch

from lampq_tvm.artifact.container import read_artifact

NAME = "vit_small_patch14_reg4_dinov2"
SIZES = {"depth": 2, "embed_dim": 32, "num_heads": 2}
ARGUMENTS = [x for k, v in SIZES.items() for x in ("--model-arg", f"{k}={v}")]
MODEL = [NAME, *ARGUMENTS, "--size", "28x56"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "data.npz"
    np.savez(path, images=np.random.default_rng(0).integers(0, 256, (40, 28, 56, 3), np.uint8))
    return path


def module() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(NAME, img_size=(28, 56), **SIZES).eval()


@pytest.mark.parametrize(("features", "form", "shapes"), [("0,1", "nchw", [(32, 2, 4)] * 2), ("last", "tokens", [(8, 32)])])
def test_they_are_what_timm_gives(lampq, images, tmp_path, features, form, shapes):
    artifact, several = tmp_path / "features.lampq", len(shapes) > 1
    chosen = ["--features", features, "--feature-form", form]
    found = lampq("compile", *MODEL, *chosen, "--data", images, "--calib-images", "32", "--sens-images", "32", "-o", artifact)
    assert found.code == 0, found.err
    told = json.loads(lampq("eval", artifact, "--data", images, "--json").out.splitlines()[-1])
    assert (told["n"], told["top1"], told["fp32_top1"]) == (40, None, None)
    assert told["agreement_fp32"] > 0.99 and 0 < told["error_fp32"] < 0.1
    spec = json.loads(lampq("inspect", artifact, "--json").out.splitlines()[-1])["input"]
    mean, std = (np.array(spec[k], np.float32).reshape(-1, 1, 1) for k in ("mean", "std"))
    pixels = np.load(images)["images"][:3].transpose(0, 3, 1, 2)
    np.save(tmp_path / "x.npy", ((pixels / 255 - mean) / std).astype(np.float32))
    out = tmp_path / ("y.npz" if several else "y.npy")
    ran = lampq("run", artifact, "--input", tmp_path / "x.npy", "--output", out)
    assert ran.code == 0 and ("output_1" in ran.out) == several
    held = np.load(out)
    got = [held[name] for name in held.files] if several else [held]
    with torch.no_grad():
        blocks, norm = (1, True) if features == "last" else ([0, 1], False)
        form = {"nchw": "NCHW", "tokens": "NLC"}[form]
        x = torch.from_numpy(np.load(tmp_path / "x.npy"))
        wanted = module().forward_intermediates(x, blocks, norm=norm, output_fmt=form, intermediates_only=True)
    assert [each.shape for each in got] == [(3, *shape) for shape in shapes]
    for mine, right in zip(got, wanted, strict=True):
        assert np.corrcoef(mine.ravel(), right.numpy().ravel())[0, 1] > 0.99
    if several:
        refused = lampq("run", artifact, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
        assert refused.code == 2 and "2 outputs" in refused.line and ".npz" in refused.line


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (["--features", "first"], "'first' names no features"),
        (["--features", "7"], "timm does not give these features"),
        (["--features", "0", "--feature-form", "rows"], "'rows' is not a choice"),
    ],
)
def test_wrong_ones_are_refused(lampq, images, tmp_path, chosen, said):
    found = lampq("compile", *MODEL, *chosen, "--data", images, "-o", tmp_path / "no.lampq")
    assert found.code == 2 and said in found.line


def test_a_gpu_gives_several_outputs(lampq, images, tmp_path):
    chosen = ["--features", "0,1", "--feature-form", "tokens", "--target", "jetson-agx-orin-64gb"]
    few = ["--calib-images", "32", "--sens-images", "32", "-o", tmp_path / "gpu.lampq"]
    found = lampq("compile", *MODEL, *chosen, "--data", images, *few)
    assert found.code == 0, found.err
    buckets = read_artifact(tmp_path / "gpu.lampq").manifest["cuda"]["buckets"]
    assert [size for _, size in buckets[0]["outputs"]] == [4 * 8 * 32] * 2


def test_no_float_model_to_compare_with(lampq, images, tmp_path):
    artifact = tmp_path / "features.lampq"
    few = ["--calib-images", "32", "--sens-images", "32", "-o", artifact]
    assert lampq("compile", *MODEL, "--features", "last", "--data", images, *few).code == 0
    found = lampq("eval", artifact, "--data", images, "--no-fp32")
    assert found.code == 2 and "no float model to compare features with" in found.line
