"""Matrix product of two computed values."""

from __future__ import annotations

from torch import Tensor

from lampq_tvm.quantize import exact
from lampq_tvm.quantize.operators.matmul import QMatMul
from lampq_tvm.quantize.reference_rules import RULES


@RULES.register(QMatMul)
def matmul(op: QMatMul, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """All matrices at once."""
    a, b = x[0].short() - op.zero, x[1].transpose(-1, -2) if op.transposed else x[1]
    return exact.product(a, b, a.shape[-1] << 15).float() * t["S"]
