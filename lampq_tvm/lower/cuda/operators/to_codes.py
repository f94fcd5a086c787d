"""Float becomes codes."""

from __future__ import annotations

from lampq_tvm.kernels.cuda import tokens
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import BITS, Launch, array, builder, clamp
from lampq_tvm.lower.cuda.operators import RULES
from lampq_tvm.quantize.operators.to_codes import QToCodes


@RULES.register(QToCodes)
def lower_to_codes(op: QToCodes, c: CudaContext) -> list[Launch]:
    """Codes of a float value."""
    source = op.inputs[0]
    rows, channels = c.rows(source), c.shapes[source][-1]
    out = c.coded(op.name, op.out_bits)
    bits, params = BITS[out.dtype], {"affine": array(f"{op.name}.affine")} | clamp(op.out_bits)
    build = builder(tokens.build_to_codes, rows, channels, bits)
    return [Launch(f"codes_r{rows}_c{channels}_o{bits}", build, {"x": source}, params, ("out", out))]
