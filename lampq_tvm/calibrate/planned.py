"""The weight codes and biases that a plan uses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.network.pixels import layer_weight

I8 = npt.NDArray[np.int8]
F32 = npt.NDArray[np.float32]


def planned_codes(calibration: Calibration, layer: str, bits: int) -> I8:
    """Weight codes [N, K] of a layer at a width: calibration's compensated ones, or rounded ones where it has none."""
    codes = calibration.codes.get(layer, {}).get(bits)
    if codes is not None:
        return codes
    return calibration.weights[layer][bits].encode(layer_weight(calibration.model, layer))


def planned_bias(calibration: Calibration, layer: str, bits: int) -> F32:
    """Bias [N] of a layer at a width: the one fitted with its codes, or the model's."""
    found = calibration.biases.get(layer, {}).get(bits)
    return calibration.model.tensors[f"{layer}.bias"] if found is None else found
