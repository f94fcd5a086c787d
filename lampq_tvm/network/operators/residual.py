"""The residual sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lampq_tvm.network.op import FloatOp, Shape, Shaped
from lampq_tvm.network.operators import OPERATORS

if TYPE_CHECKING:
    from torch import Tensor


@OPERATORS.register("Residual")
@dataclass(frozen=True)
class Residual(FloatOp):
    """stream + branch * scale; inputs (stream, branch: a linear layer or a LayerNorm). Tensor: `{name}.scale` [C], LayerScale
    or ones."""

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """That of the stream."""
        return x[0]

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """[B, .., C] twice to the same."""
        return x[0] + x[1] * tensors[f"{self.name}.scale"]
