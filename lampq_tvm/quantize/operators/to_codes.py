"""Float becomes codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lampq_tvm.kinds import Encode
from lampq_tvm.network.op import Shape, Shaped
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators import OPERATORS


@OPERATORS.register("QToCodes")
@dataclass(frozen=True)
class QToCodes(QOp):
    """Float to code: fma(x, inv_scale, zero) stored as `encode` says. Tensors: `.affine` [2] f32 = (1/s, z)."""

    encode: Encode

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """That of its first input."""
        return x[0]
