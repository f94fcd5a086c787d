"""Float becomes codes."""

from __future__ import annotations

from lampq_tvm.oracle import ops
from lampq_tvm.oracle.operators import RULES, Array
from lampq_tvm.quantize.operators.to_codes import QToCodes


@RULES.register(QToCodes)
def to_codes(op: QToCodes, t: dict[str, Array], x: list[Array]) -> Array:
    """Element by element."""
    return ops.stored(ops.to_codes(x[0], t["affine"], op.encode.grid), op.encode, t)
