"""A gated activation."""

from __future__ import annotations

from lampq_tvm.kernels.gate import build_gate
from lampq_tvm.lower.context import Context
from lampq_tvm.lower.kernel import Arguments, Call
from lampq_tvm.lower.operators import RULES
from lampq_tvm.quantize.operators.gate import QGate


@RULES.register(QGate)
def lower_gate(op: QGate, c: Context) -> list[Call]:
    """Activation of some columns times others."""
    gate, value = op.inputs
    sizes = (c.rows(gate), c.channels(gate), c.channels(value), op.gate_at, op.value_at, op.width)
    arguments = Arguments().value(gate).value(value).arrays(f"{op.name}.table")
    name, shape = "gate_" + "_".join(map(str, sizes)), (sizes[0], op.width)
    over = next((operand for operand in (value, gate) if c.channels(operand) == op.width), None)
    return [arguments.call(name, lambda: build_gate(*sizes, c.isa), op.name, shape, "float32", over)]
