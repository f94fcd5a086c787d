"""What stays float has no kernels on a GPU yet."""

from __future__ import annotations

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import Launch
from lampq_tvm.lower.cuda.operators import RULES
from lampq_tvm.quantize.operators.float_part import QFloatPart, QNormalized


@RULES.register(QFloatPart, QNormalized)
def lower_part(op: QFloatPart | QNormalized, c: CudaContext) -> list[Launch]:
    """Refused before any work starts (`lower.cuda.limits`); this is for whoever comes another way."""
    raise UnsupportedError("a part that stays float has no CUDA kernels yet", where=op.name, hint="compile for the CPU")
