"""LayerNorm to codes and to float."""

from __future__ import annotations

from lampq_tvm.kernels.tunable import LayerNormKernel
from lampq_tvm.kinds import Encode, Kind
from lampq_tvm.lower.context import Context
from lampq_tvm.lower.kernel import Arguments, Call
from lampq_tvm.lower.operators import RULES
from lampq_tvm.quantize.operators.norm import QFloatNorm, QLayerNorm


@RULES.register(QLayerNorm, QFloatNorm)
def lower_norm(op: QLayerNorm | QFloatNorm, c: Context) -> list[Call]:
    """LayerNorm or RMSNorm to codes or to float."""
    source, encode = op.inputs[0], op.encode if isinstance(op, QLayerNorm) else None
    rows, channels = c.rows(source), c.channels(source)
    arguments = Arguments().value(source).arrays(f"{op.name}.G", f"{op.name}.B")
    arguments.encode(op.name, encode or Encode(Kind.INT8))
    table = encode is not None and encode.table is not None
    kernel = LayerNormKernel(rows, channels, op.eps, encode is not None, c.isa, table, op.centred)
    return [arguments.call(*c.choose(kernel), op.name, (rows, channels), "int8" if encode else "float32")]
