"""Products of two computed values."""

from __future__ import annotations

from lampq_tvm.lower.cuda.limits import SIZES
from lampq_tvm.network.operators.matmul import MatMul


@SIZES.register(MatMul)
def no_products(op: MatMul) -> str | None:
    """None has kernels yet."""
    return "a product of two computed values"
