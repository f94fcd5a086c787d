"""What calibration did not see: images that were held back, and images that show too little."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.calibrate.novelty import ENOUGH
from lampq_tvm.frontend.execute import normalize, run_float
from lampq_tvm.frontend.model import Linear, Op
from lampq_tvm.spread import one_thread

FEWEST = 32  # different images; ranges of fewer rest on what the weights tell
SATURATED = 0.05  # share of a layer's values; of one value an image 2 / (128 + 1) leave the range of 128 (Wilks, 1941)
CONTRAST = 32  # levels between an image set's darkest and brightest pixels


def poor_images(images: npt.NDArray[np.uint8]) -> list[str]:
    """What is odd about calibration images [N, C, H, W], all of them or `ENOUGH`; a line each."""
    found = []
    different = len(np.unique(images.reshape(len(images), -1), axis=0))
    if different < FEWEST:
        alike = "" if different == len(images) else f" among {len(images)}"
        what = f"calibration saw {different} different image{'s' * (different > 1)}{alike}"
        found.append(f"{what}; give {ENOUGH} or more (--calib-images N, with --data that holds as many)")
    if int(images.max()) - int(images.min()) < CONTRAST:
        what = f"the calibration images hold pixels of {images.min()}..{images.max()} alone"
        found.append(f"{what}; give images as the model will meet them")
    return found


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
        if isinstance(op, Linear):
            q, x = calibration.activations[op.name][8], inputs[0]
            low, high = (q.scale * (end - q.zero) for end in (q.low - 1, q.high + 1))
            shares[op.name] = float(((x <= low) | (x >= high)).float().mean())

    run_float(calibration.model, normalize(images, calibration.model.input), observe=see)
    name = max(shares, key=lambda key: shares[key])
    return name, shares[name]
