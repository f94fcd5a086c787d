"""Activation functions."""

from __future__ import annotations

import numpy as np
import torch

from lampq_tvm.calibrate.range_rules import F32, RANGES, Range
from lampq_tvm.network.operators.activation import Activation
from lampq_tvm.network.unary import UNARY


@RANGES.register(Activation)
def function_range(op: Activation, low: F32, high: F32) -> Range:
    """The function's own, over its input's."""
    values = UNARY[op.kind](torch.from_numpy(np.linspace(low, high, 257))).numpy().astype(np.float64)
    return values.min(0), values.max(0)
