"""LayerNorm to codes and to float."""

from __future__ import annotations

from torch import Tensor

from lampq_tvm.quantize import exact
from lampq_tvm.quantize.operators.norm import QFloatNorm, QLayerNorm
from lampq_tvm.quantize.reference_rules import RULES


@RULES.register(QLayerNorm)
def norm_codes(op: QLayerNorm, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """Stream to codes."""
    return exact.encode(exact.fma(exact.normalize(x[0], op.eps, op.centred), t["G"], t["B"]), op.encode, t)


@RULES.register(QFloatNorm)
def norm_float(op: QFloatNorm, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """Stream to float."""
    return exact.fma(exact.normalize(x[0], op.eps, op.centred), t["G"], t["B"])
