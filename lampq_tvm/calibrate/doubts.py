"""What calibration did not see: where images that were held back leave its ranges."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.network.execute import normalize, run_float
from lampq_tvm.network.model import Op
from lampq_tvm.quantizers.carried import carried
from lampq_tvm.spread import one_thread

SATURATED = 0.05  # share of a layer's values; of one value an image 2 / (128 + 1) leave the range of 128 (Wilks, 1941)


def saturation(calibration: Calibration, images: npt.NDArray[np.uint8]) -> str | None:
    """The line for a layer that saturates on images [M, C, H, W] that calibration did not see; None where none does."""
    name, share = worst_saturation(calibration, images)
    if share <= SATURATED:
        return None
    what = f"{share:.1%} of the input of {name} saturate on {len(images)} images that calibration did not see"
    return f"{what}; give more or other calibration images (--calib-images N)"


@one_thread()
@torch.no_grad()
def worst_saturation(calibration: Calibration, images: npt.NDArray[np.uint8]) -> tuple[str, float]:
    """(layer, share of its input's values) that the 8-bit quantizers clip most on images [M, C, H, W]."""
    shares = {"": 0.0}

    def see(op: Op, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        if op.name in calibration.activations:
            grid, x = carried(calibration.activations[op.name][8]).grid, inputs[0]
            low, high = grid.values(np.array([grid.kind.low - 1, grid.kind.high + 1])).tolist()
            shares[op.name] = float(((x <= low) | (x >= high)).float().mean())

    run_float(calibration.model, normalize(images, calibration.model.input), observe=see)
    name = max(shares, key=lambda key: shares[key])
    return name, shares[name]
