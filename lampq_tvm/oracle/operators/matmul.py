"""Matrix product of two computed values."""

from __future__ import annotations

from lampq_tvm.oracle import ops
from lampq_tvm.oracle.operators import RULES, Array
from lampq_tvm.quantize.operators.matmul import QMatMul


@RULES.register(QMatMul)
def matmul(op: QMatMul, t: dict[str, Array], x: list[Array]) -> Array:
    """All matrices at once."""
    return ops.matmul(x[0], x[1].swapaxes(-1, -2) if op.transposed else x[1], op.zero, t["S"])
