"""Float becomes codes."""

from __future__ import annotations

from torch import Tensor

from lampq_tvm.quantize import exact
from lampq_tvm.quantize.operators.to_codes import QToCodes
from lampq_tvm.quantize.reference_rules import RULES


@RULES.register(QToCodes)
def to_codes(op: QToCodes, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """Element by element."""
    inverse, zero = t["affine"]
    return exact.encode(exact.fma(x[0], inverse, zero), op.encode, t)
