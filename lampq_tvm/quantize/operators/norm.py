"""LayerNorm and RMSNorm, to codes and to float."""

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
    """Stream to codes of the next layer, fma(c * r, G[c], B[c]) stored as `encode` says; c = x where it is not `centred`
    (RMSNorm). Tensors: `.G` `.B` [C] f32."""

    of = ("LayerNorm",)

    eps: float
    encode: Encode
    centred: bool = True

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """That of its first input."""
        return x[0]


@OPERATORS.register("QFloatNorm")
@dataclass(frozen=True)
class QFloatNorm(QOp):
    """LayerNorm (or RMSNorm, where it is not `centred`) to float: fma(c * r, G[c], B[c]). Tensors: `.G` `.B` [C] f32.
    Any [..., C]."""

    of = ("LayerNorm",)

    eps: float
    centred: bool = True

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """That of its first input."""
        return x[0]
