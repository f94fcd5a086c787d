"""Integer weights from scales, and the patch embedding in units of pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.frontend.model import ImportedModel, PatchEmbed

F64 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int8]


def weight_range(bits: int) -> tuple[int, int]:
    """Lowest and highest weight code: 8-bit weights leave -128 out, so that plain NEON adds two products in 16 bits."""
    half = 1 << (bits - 1)
    return (-half if bits < 8 else 1 - half), half - 1


def weight_codes(weight: npt.NDArray[np.floating], scale: F64, bits: int) -> I8:
    """Symmetric codes rne(w / s) within -2^(bits-1) .. 2^(bits-1)-1; weight [N, K], scale [N]."""
    return np.clip(np.rint(np.asarray(weight, np.float64) / scale[:, None]), *weight_range(bits)).astype(np.int8)


def half_weights(weight: F64) -> tuple[npt.NDArray[np.float16], F64]:
    """(float16 weights [N, K], scale [N]): a power of two per output channel brings the largest to (1/2, 1].

    So no weight leaves float16, and rounding errors are at most 2^-11 of a weight, or 2^-25 of its channel's largest.
    """
    largest = np.abs(weight).max(1)
    scale = 2.0 ** np.ceil(np.log2(np.where(largest > 0, largest, 1)))
    return (weight / scale[:, None]).astype(np.float16), scale


def planned_codes(calibration: Calibration, layer: str, bits: int) -> I8:
    """Weight codes [N, K] of a layer at a width: calibration's compensated ones, or rounded ones where it has none."""
    codes = calibration.codes.get(layer, {}).get(bits)
    if codes is not None:
        return codes
    return weight_codes(layer_weight(calibration.model, layer), calibration.weights[layer][bits], bits)


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
