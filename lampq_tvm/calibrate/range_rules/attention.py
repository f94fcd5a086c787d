"""Attention."""

from __future__ import annotations

from lampq_tvm.calibrate.range_rules import F64, MEANS, Range
from lampq_tvm.network.operators.attention import Attention


@MEANS.register(Attention)
def values_range(op: Attention, low: F64, high: F64) -> Range:
    """A mean of v's rows leaves none of their ranges."""
    v = slice(2 * op.heads * op.head_dim, None)
    return low[v], high[v]
