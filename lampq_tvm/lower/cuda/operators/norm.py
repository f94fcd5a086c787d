"""LayerNorm to codes and to float, in a kernel of its own."""

from __future__ import annotations

from lampq_tvm.kernels.cuda.norm import build_norm
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import BITS, Launch, array, clamp, text_of
from lampq_tvm.lower.cuda.operators import RULES
from lampq_tvm.quantize.operators.norm import QFloatNorm, QLayerNorm


@RULES.register(QLayerNorm, QFloatNorm)
def lower_norm(op: QLayerNorm | QFloatNorm, c: CudaContext) -> list[Launch]:
    """LayerNorm to codes or to float."""
    source = op.inputs[0]
    rows, channels = c.rows(source), c.shapes[source][-1]
    params = {"G": array(f"{op.name}.G"), "B": array(f"{op.name}.B")}
    bits: int | None = None
    if isinstance(op, QLayerNorm):
        out = c.coded(op.name, op.out_bits)
        bits = BITS[out.dtype]
        params |= clamp(op.out_bits)
    else:
        out = c.add(op.name, "float32")
    name = f"norm_{out.dtype}_r{rows}_c{channels}_e{text_of(op.eps)}"
    return [
        Launch(
            name,
            lambda name: build_norm(rows, channels, op.eps, out_bits=bits, name=name),
            {"stream": source},
            params,
            ("out", out),
        )
    ]
