"""A layer's quantizers as float functions, for errors and sensitivities measured in the float model."""

from __future__ import annotations

import functools
from collections import ChainMap
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.calibrate.planned import planned_bias, planned_codes
from lampq_tvm.kinds import of_width
from lampq_tvm.network.execute import Replacement, model_tensors, run_op
from lampq_tvm.network.op import Op
from lampq_tvm.network.operators.attention import Attends
from lampq_tvm.network.pixels import layer_weight, pixel_units
from lampq_tvm.quantizers.carried import CODES, carried
from lampq_tvm.quantizers.half import LARGEST, Float16, HalfWeights
from lampq_tvm.quantizers.probabilities import NATS, STEPS, softmax_table
from lampq_tvm.quantizers.protocol import Quantizer


def fake_quantize(x: Tensor, quantizer: Quantizer) -> Tensor:
    """The values that the codes of x stand for, float32: s (sat(rne(x / s + z)) - z), or the levels of codes on a grid."""
    if isinstance(quantizer, Float16):
        return half(x)
    found = carried(quantizer)
    grid = found.grid.decoder
    codes = (x / grid.scale + grid.zero).round().clamp(found.grid.kind.low, found.grid.kind.high)
    if found.levels is None:
        values: Tensor = (codes - grid.zero) * grid.scale
        return values
    levels = torch.from_numpy(quantizer.values(quantizer.encode(found.grid.values(CODES))).astype(np.float32))
    return levels[codes.int() + 128]


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
    if of_width(w_bits).is_float:
        real = layer_weight(model, layer)
        weights = HalfWeights.of_rows(real)
        values = weights.values(weights.encode(real))
    else:
        values = calibration.weights[layer][w_bits].values(planned_codes(calibration, layer, w_bits))
    if op.reads_image:
        return (values * pixel_units(model, layer)[0]).astype(np.float32), lambda x: x
    if not of_width(w_bits).is_float:
        quantizer = calibration.activations[layer][a_bits]
        fake = functools.partial(fake_quantize, quantizer=quantizer)
    return values.astype(np.float32), fake


def quantized_attention(calibration: Calibration, name: str, bits: int, softmax: str) -> Replacement:
    """An attention with q, k and v at `bits`, its probabilities as the softmax's table of that width holds them.

    Args:
        softmax: name of the quantizer of p.
    """
    known, scales = model_tensors(calibration.model), calibration.attention[name][bits]
    table = torch.from_numpy(softmax_table(calibration.probability(name, softmax, bits)).astype(np.float32))
    low, high = scales.range

    def run(op: Op, inputs: tuple[Tensor, ...]) -> Tensor:
        """Compute it from fake-quantized values."""
        assert isinstance(op, Attends)
        steps = torch.from_numpy(scales.scale).float()[:, :, None, None]
        parts = zip(op.operands(inputs[0], known), steps, strict=True)
        q, k, v = ((x / step).round().clamp(low, high) * step for x, step in parts)
        scores, bias = op.scale * (q @ k.transpose(-1, -2)), op.bias(known)
        scores = scores if bias is None else scores + bias
        index = ((scores.amax(-1, keepdim=True) - scores) * (STEPS / NATS)).round().clamp(max=STEPS)
        p = table[index.int()]
        return op.joined((p @ v) / p.sum(-1, keepdim=True), inputs[0])

    return run


def quantized_layer(calibration: Calibration, layer: str, w_bits: int | None, a_bits: int | None) -> Replacement:
    """The layer with its weights at w_bits and its input at a_bits; None leaves that side in float."""
    known = model_tensors(calibration.model)
    weight, act = fake_quantize_layer(calibration, layer, w_bits or 8, a_bits or 8)
    own: dict[str, Tensor] = {}
    if w_bits:
        name = f"{layer}.weight"
        own[name] = torch.from_numpy(weight).view(known[name].shape)
        own[f"{layer}.bias"] = torch.from_numpy(planned_bias(calibration, layer, w_bits))
    tensors = ChainMap(own, known)

    def run(op: Op, inputs: tuple[Tensor, ...]) -> Tensor:
        """Compute the layer from fake-quantized values."""
        return run_op(op, (act(inputs[0]) if a_bits else inputs[0], *inputs[1:]), tensors)

    return run
