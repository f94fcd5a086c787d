"""Weights on integer inputs: the patch embedding in units of pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lampq_tvm.network.model import ImportedModel, PatchEmbed

F64 = npt.NDArray[np.float64]


def layer_weight(model: ImportedModel, name: str) -> F64:
    """Weights [N, K] of a layer on its integer input: the patch embedding's are divided by 255 std, for 8-bit pixels."""
    weight = model.tensors[f"{name}.weight"].astype(np.float64)
    op = model.op(name)
    if not isinstance(op, PatchEmbed):
        return weight
    return weight.reshape(len(weight), -1) / pixel_units(model, op)[0]


def pixel_units(model: ImportedModel, op: PatchEmbed) -> tuple[F64, F64]:
    """(255 std, 255 mean) for every k of the patch embedding, in the order channel, row, column: each [C * p * p]."""
    std, mean = np.array(model.input.std, np.float64), np.array(model.input.mean, np.float64)
    return np.repeat(255 * std, op.patch**2), np.repeat(255 * mean, op.patch**2)
