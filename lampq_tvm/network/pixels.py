"""Weights on integer inputs: the patch embedding in units of pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lampq_tvm.network.model import ImportedModel

F64 = npt.NDArray[np.float64]


def layer_weight(model: ImportedModel, name: str) -> F64:
    """Weights [N, K] of a layer on its integer input: those on the image are divided by 255 std, for 8-bit pixels."""
    weight = model.tensors[f"{name}.weight"].astype(np.float64)
    if not model.op(name).reads_image:
        return weight
    return weight.reshape(len(weight), -1) / pixel_units(model, name)[0]


def pixel_units(model: ImportedModel, name: str) -> tuple[F64, F64]:
    """(255 std, 255 mean) for every k of a layer that reads the image, in the order channel, row, column: each [K]."""
    std, mean = np.array(model.input.std, np.float64), np.array(model.input.mean, np.float64)
    each = model.tensors[f"{name}.weight"][0].size // model.input.channels
    return np.repeat(255 * std, each), np.repeat(255 * mean, each)
