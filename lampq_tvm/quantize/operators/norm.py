"""LayerNorm, to codes and to float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lampq_tvm.kinds import Encode
from lampq_tvm.network.op import Shape, Shaped
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators import OPERATORS


@OPERATORS.register("QLayerNorm")
@dataclass(frozen=True)
class QLayerNorm(QOp):
    """Stream to codes of the next layer, fma(c * r, G[c], B[c]) stored as `encode` says. Tensors: `.G` `.B` [C] f32."""

    of = ("LayerNorm",)

    eps: float
    encode: Encode

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """That of its first input."""
        return x[0]


@OPERATORS.register("QFloatNorm")
@dataclass(frozen=True)
class QFloatNorm(QOp):
    """LayerNorm to float: fma(c * r, G[c], B[c]). Tensors: `.G` `.B` [C] f32. Any [..., C]."""

    of = ("LayerNorm",)

    eps: float

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """That of its first input."""
        return x[0]
