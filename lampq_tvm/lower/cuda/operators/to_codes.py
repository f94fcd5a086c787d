"""Float becomes codes."""

from __future__ import annotations

from lampq_tvm.kernels.cuda import tokens
from lampq_tvm.kinds import Kind
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import Launch, array, builder, encoded
from lampq_tvm.lower.cuda.operators import RULES
from lampq_tvm.quantize.operators.to_codes import QToCodes


@RULES.register(QToCodes)
def lower_to_codes(op: QToCodes, c: CudaContext) -> list[Launch]:
    """Codes of a float value."""
    source = op.inputs[0]
    rows, channels = c.rows(source), c.shapes[source][-1]
    out = c.coded(op.name, op.encode.stored)
    kind, table = Kind(out.dtype), op.encode.table is not None
    params = {"affine": array(f"{op.name}.affine")} | encoded(op.name, op.encode)
    name = f"codes_r{rows}_c{channels}_o{kind.bits}" + ("_table" if table else "")
    build = builder(tokens.build_to_codes, rows, channels, kind, table=table)
    return [Launch(name, build, {"x": source}, params, ("out", out))]
