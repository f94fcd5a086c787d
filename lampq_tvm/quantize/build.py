"""Applies a plan: float operators and their quantizers become the integer network.

The network is built from its output backwards. Every value is asked for in the form its reader needs, float32 or the codes
of one layer's input quantizer, so nothing is made that nobody reads.
"""

from __future__ import annotations

from lampq_tvm.bitplan import BitPlan
from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.quantize.builder import Builder
from lampq_tvm.quantize.described import described
from lampq_tvm.quantize.model import QuantizedModel


def quantize(calibration: Calibration, plan: BitPlan) -> QuantizedModel:
    """The integer network of a calibrated model under a plan.

    Values are named after the float value they stand for, and products come in the order of the layer table.

    Raises:
        CorruptError: the plan does not fit the model.
        UnsupportedError: operators in a pattern without a rule, or sums that could leave int32.
    """
    model = calibration.model
    plan.check_fits(model)
    builder = Builder(calibration, plan)
    outputs = tuple(builder.real(name) for name in model.outputs)
    return QuantizedModel(
        ops=tuple(builder.ops.values()),
        outputs=outputs,
        input=model.input,
        plan=plan,
        weights=model.weights,
        has_classifier=model.has_classifier,
        tensors=builder.tensors,
        quantizers=described(calibration, plan),
    )
