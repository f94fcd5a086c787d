"""One model of a comparison: random weights, images, and the logits that every runner has to come near."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from lampq_tvm.frontend.timm_source import build_timm
from lampq_tvm.network.execute import normalize
from lampq_tvm.network.model import InputSpec

CALIBRATION = 8
TINY, SMALL = "deit_tiny_patch16_224", "deit_small_patch16_224"
MODELS = [TINY, SMALL, "swin_tiny_patch4_window7_224", "vit_base_patch16_224"]  # from few products to many


class Case:
    """A timm model with random weights.

    Args:
        model: its name.
        folder: for everything made from it.

    Attributes:
        pixels: one image [1, C, H, W] uint8; floats: the same normalized, float32.
        calibration: normalized images [n, C, H, W] float32, the one above not among them.
        images: an npz file of the three.
        weights: a safetensors file that names the model.
        logits: torch's, in float [1, classes].
    """

    def __init__(self, model: str, folder: Path) -> None:
        self.model, self.folder = model, folder
        folder.mkdir(parents=True, exist_ok=True)
        cfg = self.module().pretrained_cfg
        spec = InputSpec(*cfg["input_size"], tuple(cfg["mean"]), tuple(cfg["std"]))
        rng = np.random.default_rng(1)
        drawn = rng.integers(0, 256, (1 + CALIBRATION, spec.channels, spec.height, spec.width), np.uint8)
        self.pixels = drawn[:1]
        self.floats = normalize(drawn[:1], spec).numpy()
        self.calibration = normalize(drawn[1:], spec).numpy()
        self.images, self.weights = folder / "images.npz", folder / f"{model}.safetensors"
        np.savez(self.images, pixels=self.pixels, floats=self.floats, calibration=self.calibration)
        save_file(self.module().state_dict(), self.weights, {"model": model})
        with torch.inference_mode():
            self.logits: np.ndarray = self.module()(torch.from_numpy(self.floats)).numpy()

    def module(self) -> torch.nn.Module:
        """The float model, made anew, since exporters change it."""
        return build_timm(self.model, None, False, None, 0)

    def correlation(self, logits: np.ndarray) -> float:
        """With torch's; NaN where the logits are not finite or all the same."""
        with np.errstate(all="ignore"):
            return float(np.corrcoef(np.ravel(logits).astype(np.float64), self.logits.ravel())[0, 1])
