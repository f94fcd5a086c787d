"""LayerNorm to codes and to float."""

from __future__ import annotations

from lampq_tvm.kernels.tunable import LayerNormKernel
from lampq_tvm.lower.context import Context
from lampq_tvm.lower.kernel import Arguments, Call
from lampq_tvm.lower.operators import RULES
from lampq_tvm.quantize.operators.norm import QFloatNorm, QLayerNorm


@RULES.register(QLayerNorm, QFloatNorm)
def lower_norm(op: QLayerNorm | QFloatNorm, c: Context) -> list[Call]:
    """LayerNorm to codes or to float."""
    source, to_codes = op.inputs[0], isinstance(op, QLayerNorm)
    rows, channels = c.rows(source), c.channels(source)
    arguments = Arguments().value(source).arrays(f"{op.name}.G", f"{op.name}.B")
    arguments.code_range(op.out_bits if isinstance(op, QLayerNorm) else 8)
    kernel = LayerNormKernel(rows, channels, op.eps, to_codes, c.isa)
    return [arguments.call(*c.choose(kernel), op.name, (rows, channels), "int8" if to_codes else "float32")]
