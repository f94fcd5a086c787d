"""LayerNorm to codes and to float."""

from __future__ import annotations

from lampq_tvm.oracle import ops
from lampq_tvm.oracle.operators import RULES, Array
from lampq_tvm.quantize.operators.norm import QFloatNorm, QLayerNorm


@RULES.register(QLayerNorm)
def norm_codes(op: QLayerNorm, t: dict[str, Array], x: list[Array]) -> Array:
    """Stream to codes."""
    return ops.stored(ops.layer_norm_codes(x[0], t["G"], t["B"], op.eps, op.encode.grid, op.centred), op.encode, t)


@RULES.register(QFloatNorm)
def norm_float(op: QFloatNorm, t: dict[str, Array], x: list[Array]) -> Array:
    """Stream to float."""
    return ops.layer_norm_float(x[0], t["G"], t["B"], op.eps, op.centred)
