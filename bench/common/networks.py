"""Networks whose shapes alone matter: those that records ship for, and the board that stands for each Arm level."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from bench.common.sample import CHECKPOINT, MODEL
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.calibrate.fit import calibrate
from lampq_tvm.frontend.load import load_model
from lampq_tvm.levels import CpuLevel
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.store import Units
from lampq_tvm.targets import local_arch, local_features

MODELS = {
    "fashion_mnist": (MODEL, CHECKPOINT),
    "deit_tiny": ("deit_tiny_patch16_224", None),
    "deit_small": ("deit_small_patch16_224", None),
    "vit_base": ("vit_base_patch16_224", None),
    "swin_tiny": ("swin_tiny_patch4_window7_224", None),
}
LONG = {"dinov2_small": ("vit_small_patch14_dinov2.lvd142m", None)}  # 1,370 tokens; no records ship for it
BOARDS = {"i8mm": "jetson-agx-thor:cpu", "dotprod": "raspberry-pi-5", "neon": "raspberry-pi-4"}


def runs_here(level: CpuLevel) -> bool:
    """Whether this machine has a level."""
    return level.arch.name == local_arch() and not level.missing(local_features())


def network(name: str, checkpoint: Path | None = None) -> QuantizedModel:
    """The 8/8 model with random weights, calibrated on noise: only its shapes matter here."""
    model = load_model(name, checkpoint=checkpoint)
    spec = model.input
    noise = np.random.default_rng(0).integers(0, 256, (4, spec.channels, spec.height, spec.width)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        calibration = calibrate(model, [(noise, None)], units=Units(Path(folder)), widths=(8,))
    return quantize(calibration, uniform_plan(model, 8, 8))
