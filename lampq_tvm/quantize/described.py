"""The quantizers of a network, by name and parameters, as an artifact's manifest tells them."""

from __future__ import annotations

from lampq_tvm.bitplan import BitPlan
from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.quantize.product import layer_input
from lampq_tvm.quantizers.half import Float16, HalfWeights
from lampq_tvm.quantizers.protocol import Described

Quantizers = dict[str, dict[str, Described]]


def described(calibration: Calibration, plan: BitPlan) -> Quantizers:
    """By layer its `weights` and its `input`, by attention its `operands` (q, k and v) and its `probabilities`.

    Scales of channels and heads are left out: they are folded into the constants.
    """
    found: Quantizers = {}
    for row in plan.layers:
        fitted = calibration.weights[row.name]
        weights: Described = {"name": HalfWeights.name} if row.is_float else fitted[row.w_bits].described
        found[row.name] = {"weights": weights, "input": layer_input(calibration, row).quantizer.described}
    for name, by_bits in calibration.attention.items():
        kind = plan.attention_of(name)
        if kind.is_float:
            found[name] = {"operands": Float16().described}
        else:
            p = calibration.probability(name, plan.softmax_of(name), kind.bits)
            found[name] = {"operands": by_bits[kind.bits].described, "probabilities": p.described}
    return found
