"""Codes become what a table says."""

from __future__ import annotations

from lampq_tvm.kernels.cuda import tokens
from lampq_tvm.kinds import Kind
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import Launch, array, builder
from lampq_tvm.lower.cuda.operators import RULES
from lampq_tvm.quantize.operators.look_up import QLookUp


@RULES.register(QLookUp)
def lower_look_up(op: QLookUp, c: CudaContext) -> list[Launch]:
    """One pass over the codes."""
    source = op.inputs[0]
    rows, channels = c.rows(source), c.shapes[source][-1]
    out, name = c.coded(op.name, Kind.INT8), f"look_up_r{rows}_c{channels}"
    build, table = builder(tokens.build_look_up, rows, channels), array(f"{op.name}.table")
    return [Launch(name, build, {"x": source}, {"table": table}, ("out", out))]
