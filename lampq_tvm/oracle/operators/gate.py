"""A gated activation."""

from __future__ import annotations

from lampq_tvm.oracle import ops
from lampq_tvm.oracle.operators import RULES, Array
from lampq_tvm.quantize.operators.gate import QGate


@RULES.register(QGate)
def gate(op: QGate, t: dict[str, Array], x: list[Array]) -> Array:
    """Columns of both inputs."""
    g, value = x[0][..., op.gate_at : op.gate_at + op.width], x[1][..., op.value_at : op.value_at + op.width]
    return ops.gate(g, value, t["table"])
