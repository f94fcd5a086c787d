"""Matrix product of two computed values: it stands beside parts that stay float, which have no kernels on a GPU yet."""

from __future__ import annotations

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import Launch
from lampq_tvm.lower.cuda.operators import RULES
from lampq_tvm.quantize.operators.matmul import QMatMul


@RULES.register(QMatMul)
def lower_matmul(op: QMatMul, c: CudaContext) -> list[Launch]:
    """Refused before any work starts (`lower.cuda.limits`); this is for whoever comes another way."""
    raise UnsupportedError("a product of computed values has no CUDA kernels yet", where=op.name, hint="compile for the CPU")
