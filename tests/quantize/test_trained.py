"""What widths cost a trained network: the shipped Fashion-MNIST ViT on shipped images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.calibrate.fit import calibrate
from lampq_tvm.frontend import load_model
from lampq_tvm.network.execute import normalize, run_float
from lampq_tvm.oracle.run import run_oracle
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.store import Units

BENCH = Path(__file__).parents[2] / "bench"
SAMPLE = BENCH / "data" / "fashion_mnist_sample"
pytestmark = pytest.mark.xdist_group("trained")  # whose calibration takes long


def images(name: str, count: int) -> np.ndarray:
    return np.load(SAMPLE / f"{name}.npz")["images"][:count, None]


@pytest.fixture(scope="module")
def calibration(tmp_path_factory):
    model = load_model("vit_tiny_patch16_224", checkpoint=BENCH / "checkpoints" / "fashion_mnist_vit.safetensors")
    found = images("calib512", 96)
    return calibrate(model, [(found[i : i + 32], None) for i in (0, 32, 64)], units=Units(tmp_path_factory.mktemp("units")))


@pytest.mark.parametrize(("bits", "agreement", "error"), [(8, 0.985, 0.04), (4, 0.94, 0.24), (3, 0.87, 0.40)])
def test_uniform_widths(calibration, bits, agreement, error):
    model, pixels = calibration.model, images("test2000", 400)
    with torch.no_grad():
        exact = run_float(model, normalize(pixels, model.input)).numpy()
    qm = quantize(calibration, uniform_plan(model, bits, bits))
    found = run_reference(qm, pixels)
    assert np.array_equal(found[:4], run_oracle(qm, pixels[:4])[qm.output])
    assert (found.argmax(1) == exact.argmax(1)).mean() >= agreement
    assert np.sqrt(((found - exact) ** 2).mean() / exact.var()) <= error
