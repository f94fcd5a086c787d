"""Activation functions, alone and as a gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lampq_tvm.network.op import FloatOp, Shape, Shaped
from lampq_tvm.network.operators import OPERATORS

if TYPE_CHECKING:
    from torch import Tensor

ACTIVATIONS = ("gelu", "gelu_tanh", "quick_gelu", "relu", "silu")


@OPERATORS.register("Activation")
@dataclass(frozen=True)
class Activation(FloatOp):
    """Unary function, one of `ACTIVATIONS`."""

    kind: str

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """That of its input."""
        return x[0]

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """Element by element."""
        from lampq_tvm.network.unary import UNARY

        return UNARY[self.kind](x[0])


@OPERATORS.register("Gate")
@dataclass(frozen=True)
class Gate(FloatOp):
    """activation(gate) * value, inputs (gate, value): columns [gate_at, gate_at + width) and [value_at, ..) of layers."""

    kind: str
    gate_at: int
    value_at: int
    width: int

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """`width` channels."""
        return (*x[0][:-1], self.width)

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """[B, .., Ca] and [B, .., Cb] to [B, .., width]."""
        from lampq_tvm.network.unary import UNARY

        gate = UNARY[self.kind](x[0][..., self.gate_at : self.gate_at + self.width])
        return gate * x[1][..., self.value_at : self.value_at + self.width]
