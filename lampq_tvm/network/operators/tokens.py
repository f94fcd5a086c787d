"""Tokens become one vector an image: one of them is taken, or their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lampq_tvm.network.op import FloatOp, Shape, Shaped
from lampq_tvm.network.operators import OPERATORS

if TYPE_CHECKING:
    from torch import Tensor


@OPERATORS.register("TakeToken")
@dataclass(frozen=True)
class TakeToken(FloatOp):
    """Token `index` of [B, T, C], giving [B, C]."""

    on_codes: ClassVar[bool] = True
    index: int

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """Channels alone."""
        return (x[0][-1],)

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """[B, T, C] to [B, C]."""
        return x[0][:, self.index]


@OPERATORS.register("MeanTokens")
@dataclass(frozen=True)
class MeanTokens(FloatOp):
    """Mean over tokens `start` .. T-1 of [B, T, C], giving [B, C]."""

    start: int

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """Channels alone."""
        return (x[0][-1],)

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """[B, T, C] to [B, C]."""
        return x[0][:, self.start :].mean(dim=1)
