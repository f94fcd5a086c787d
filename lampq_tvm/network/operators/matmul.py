"""Matrix product of two computed values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lampq_tvm.network.op import FloatOp, Shape, Shaped
from lampq_tvm.network.operators import OPERATORS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Multiplies(FloatOp):
    """A product of two values, which the integer network takes as 8-bit codes."""

    layer_behind: ClassVar[str | None] = "proj"

    @property
    def operands(self) -> tuple[str, str]:
        """What its operands' quantizers are called."""
        return f"{self.name}.left", f"{self.name}.right"


@OPERATORS.register("MatMul")
@dataclass(frozen=True)
class MatMul(Multiplies):
    """a [B, .., M, K] times b [B, .., K, N], matrix by matrix.

    Attributes:
        transposed: b is [B, .., N, K] instead.
    """

    transposed: bool

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """Rows of a, columns of b."""
        return (*x[0][:-1], x[1][-2 if self.transposed else -1])

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """[B, .., M, N]."""
        return x[0] @ (x[1].transpose(-1, -2) if self.transposed else x[1])
