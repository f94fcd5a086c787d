"""Tokens become one vector an image: one of them is taken, or their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lampq_tvm.network.op import Shape, Shaped
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators import OPERATORS


@OPERATORS.register("QTakeToken")
@dataclass(frozen=True)
class QTakeToken(QOp):
    """Token `index` of [B, T, C] (float32), giving [B, C]."""

    of = ("TakeToken",)

    index: int

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """Channels alone."""
        return (x[0][-1],)


@OPERATORS.register("QMeanTokens")
@dataclass(frozen=True)
class QMeanTokens(QOp):
    """Tokens `start`.. added in their order, then times fl(1/n), float32. Tensors: `.inv` [1] f32."""

    of = ("MeanTokens",)

    start: int

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """Channels alone."""
        return (x[0][-1],)
