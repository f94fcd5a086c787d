"""LayerNorm to codes and to float, in a kernel of its own."""

from __future__ import annotations

from lampq_tvm.kernels.cuda.norm import build_norm
from lampq_tvm.kinds import Kind
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import Launch, array, encoded, norm_text
from lampq_tvm.lower.cuda.operators import RULES
from lampq_tvm.quantize.operators.norm import QFloatNorm, QLayerNorm


@RULES.register(QLayerNorm, QFloatNorm)
def lower_norm(op: QLayerNorm | QFloatNorm, c: CudaContext) -> list[Launch]:
    """LayerNorm to codes or to float."""
    source = op.inputs[0]
    rows, channels = c.rows(source), c.shapes[source][-1]
    params = {"G": array(f"{op.name}.G"), "B": array(f"{op.name}.B")}
    table = isinstance(op, QLayerNorm) and op.encode.table is not None
    if isinstance(op, QLayerNorm):
        out = c.coded(op.name, op.encode.stored)
        params |= encoded(op.name, op.encode)
    else:
        out = c.add(op.name, "float32")
    name = f"norm_{out.dtype}_r{rows}_c{channels}_{norm_text(op)}" + ("_table" if table else "")
    return [
        Launch(
            name,
            lambda name: build_norm(rows, channels, op.eps, out=Kind(out.dtype), table=table, centred=op.centred, name=name),
            {"stream": source},
            params,
            ("out", out),
        )
    ]
