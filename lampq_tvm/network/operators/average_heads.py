"""The mean of two classifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lampq_tvm.network.op import FloatOp, Shape, Shaped
from lampq_tvm.network.operators import OPERATORS

if TYPE_CHECKING:
    from torch import Tensor


@OPERATORS.register("AverageHeads")
@dataclass(frozen=True)
class AverageHeads(FloatOp):
    """(a + b) / 2 of two classifiers' logits."""

    layer_before: ClassVar[str | None] = "head"
    gives_logits: ClassVar[bool] = True

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """That of either."""
        return x[0]

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """[B, classes] twice to the same."""
        return (x[0] + x[1]) / 2
