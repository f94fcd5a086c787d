"""What happens to q and k before they become codes: lengths, rotary embedding."""

from __future__ import annotations

from lampq_tvm.oracle import ops
from lampq_tvm.oracle.operators import RULES, Array
from lampq_tvm.quantize.operators.heads import QRotary, QUnitHeads


@RULES.register(QUnitHeads)
def unit_heads(op: QUnitHeads, t: dict[str, Array], x: list[Array]) -> Array:
    """q and k over their lengths."""
    return ops.stored(ops.unit_heads(x[0], t["inv"], op.heads, op.eps, op.encode.grid), op.encode, t)


@RULES.register(QRotary)
def rotary(op: QRotary, t: dict[str, Array], x: list[Array]) -> Array:
    """q and k turned."""
    codes = ops.rotary(x[0], t["cos"], t["sin"], t["partner"], t["inv"], op.encode.grid)
    return ops.stored(codes, op.encode, t)
