"""A gated activation."""

from __future__ import annotations

from lampq_tvm.kernels.cuda import tokens
from lampq_tvm.kinds import Kind
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import Launch, array, builder, encoded
from lampq_tvm.lower.cuda.operators import RULES
from lampq_tvm.quantize.operators.gate import QGate
from lampq_tvm.quantize.operators.to_codes import QToCodes


@RULES.register(QGate)
def lower_gate(op: QGate, c: CudaContext) -> list[Launch]:
    """Activation of some columns times others, and its codes where they are joined to it."""
    gate, value = op.inputs
    params, codes = {"table": array(f"{op.name}.table")}, c.group(op.name).behind(QToCodes)
    if codes is not None:
        out = c.coded(codes.name, codes.encode.stored)
        params |= {"affine": array(f"{codes.name}.affine")} | encoded(codes.name, codes.encode, table="code_table")
    else:
        out = c.add(op.name, "float32")
    columns = (c.shapes[gate][-1], c.shapes[value][-1], op.gate_at, op.value_at, op.width)
    table = codes is not None and codes.encode.table is not None
    sizes = tokens.GateShape(c.rows(gate), *columns, Kind(out.dtype), table)
    return [Launch(f"gate_{sizes.key}", builder(tokens.build_gate, sizes), {"g": gate, "x": value}, params, ("out", out))]
