"""Tokens in another order."""

from __future__ import annotations

from lampq_tvm.oracle import ops
from lampq_tvm.oracle.operators import RULES, Array
from lampq_tvm.quantize.operators.regroup import QRegroup


@RULES.register(QRegroup)
def regroup(op: QRegroup, t: dict[str, Array], x: list[Array]) -> Array:
    """Codes or float32, as they come in."""
    return ops.regroup(x[0], t["index"], t["fill"], op.rows)
