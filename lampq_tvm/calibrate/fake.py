"""A layer's quantizers as float functions, for errors and sensitivities measured in the float model."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.calibrate.planned import planned_codes
from lampq_tvm.network.pixels import layer_weight, pixel_units
from lampq_tvm.plan import FLOAT_BITS
from lampq_tvm.quantizers.half import LARGEST, HalfWeights
from lampq_tvm.quantizers.uniform import Uniform


def fake_quantize(x: Tensor, quantizer: Uniform) -> Tensor:
    """The values that the codes of x stand for: s (sat(rne(x / s + z)) - z), float32."""
    codes = (x / quantizer.scale + quantizer.zero).round().clamp(quantizer.low, quantizer.high)
    return (codes - quantizer.zero) * quantizer.scale


def half(x: Tensor) -> Tensor:
    """Values rounded to float16, float32."""
    return x.clamp(-LARGEST, LARGEST).half().float()


def fake_quantize_layer(
    calibration: Calibration, layer: str, w_bits: int, a_bits: int
) -> tuple[npt.NDArray[np.float32], Callable[[Tensor], Tensor]]:
    """(weights [N, K] that the codes stand for, in units of the float model; function that quantizes the layer's input).

    The patch embedding's input, the image, is exact at 8 bits: its function returns it unchanged.
    """
    model, op = calibration.model, calibration.model.op(layer)
    fake: Callable[[Tensor], Tensor] = half
    if w_bits == FLOAT_BITS:
        real = layer_weight(model, layer)
        weights = HalfWeights.of_rows(real)
        values = weights.values(weights.encode(real))
    else:
        values = calibration.weights[layer][w_bits].values(planned_codes(calibration, layer, w_bits))
    if op.reads_image:
        return (values * pixel_units(model, layer)[0]).astype(np.float32), lambda x: x
    if w_bits != FLOAT_BITS:
        quantizer = calibration.activations[layer][a_bits]
        fake = functools.partial(fake_quantize, quantizer=quantizer)
    return values.astype(np.float32), fake
