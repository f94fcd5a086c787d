"""Blocks whose attention and MLP stand side by side: one product before both, and both added to the stream."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch

import lampq_tvm
from lampq_tvm.frontend.load import load_model
from lampq_tvm.network.execute import run_float
from lampq_tvm.network.model import Attention, Residual
from tests.frontend.test_files import NORM, save_pt2

SMALL = {"img_size": 32, "depth": 2, "embed_dim": 32, "num_heads": 2, "num_classes": 5}


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = timm.create_model("vit_pwee_patch16_reg1_gap_256", **SMALL).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return made


@pytest.fixture
def imported(network, tmp_path):
    save_pt2(network, tmp_path / "m.pt2")
    return load_model(str(tmp_path / "m.pt2"), trust_model=True, strict_integer=True, **NORM)


def test_it_computes_what_timm_computes(network, imported):
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(run_float(imported, images), network(images), rtol=1e-4, atol=1e-5)


def test_all_of_it_is_integer(imported):
    block = ["fc1", "qkv", "proj", "fc2"]
    assert [layer.type for layer in imported.layers] == ["patch_embed", *block, *block, "head"]
    assert sum(isinstance(op, Attention) for op in imported.ops) == 2
    assert sum(isinstance(op, Residual) for op in imported.ops) == 4


def test_it_compiles(network, tmp_path):
    """The compile's own gate compares every value with the reference."""
    save_pt2(network, tmp_path / "m.pt2")
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "d.npz", images=images, labels=np.arange(8) % 5)
    asked = {"trust_model": True, "data": tmp_path / "d.npz", "mean": [0.5], "std": [0.2], "budgets": ("4bit",)}
    assert lampq_tvm.compile(tmp_path / "m.pt2", output=tmp_path / "a.lampq", calib_images=8, **asked).is_file()
