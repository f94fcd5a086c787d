"""A gated activation."""

from __future__ import annotations

from torch import Tensor

from lampq_tvm.kinds import Kind
from lampq_tvm.quantize import exact
from lampq_tvm.quantize.operators.gate import QGate
from lampq_tvm.quantize.reference_rules import RULES


@RULES.register(QGate)
def gate(op: QGate, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """Float table of the gate, times the value."""
    table = t["table"][exact.saturate(x[0].narrow(-1, op.gate_at, op.width), Kind.INT8).int() + 128]
    return table * x[1].narrow(-1, op.value_at, op.width)
