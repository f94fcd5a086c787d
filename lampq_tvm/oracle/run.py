"""Runs a whole integer network through the oracle, operator by operator."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lampq_tvm.oracle import ops
from lampq_tvm.oracle.operators import RULES, Array
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.quantize.op import QOp


def run_oracle(qm: QuantizedModel, pixels: npt.NDArray[np.uint8]) -> dict[str, Array]:
    """Every value of the network for `pixels` [B, C, H, W] uint8: int8 codes, float16 and float32 arrays by operator name."""
    values: dict[str, Array] = {"image": ops.pixel_codes(pixels)}
    for op in qm.ops:
        values[op.name] = run_op(op, op.constants(qm.tensors), [values[name] for name in op.inputs])
    return values


def run_op(op: QOp, t: dict[str, Array], x: list[Array]) -> Array:
    """Output of one operator from its constants `t`, by field, and its inputs `x`.

    Raises:
        UnsupportedError: the operator has no rule.
    """
    return op.rule(RULES, "the arithmetic table has no rule for this operator")(op, t, x)
