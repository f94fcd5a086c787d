"""Parts that stay float."""

from __future__ import annotations

from lampq_tvm.lower.cuda.limits import SIZES
from lampq_tvm.network.operators.float_part import FloatPart


@SIZES.register(FloatPart)
def no_parts(op: FloatPart) -> str | None:
    """None has kernels yet."""
    return f"a part that stays float ({', '.join(op.operators)})"
