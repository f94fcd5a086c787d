"""Activation functions, alone and as a gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lampq_tvm.network.op import FloatOp, Shape, Shaped
from lampq_tvm.network.operators import OPERATORS

if TYPE_CHECKING:
    from torch import Tensor

ACTIVATIONS = ("gelu", "gelu_tanh", "quick_gelu", "relu", "silu")


@dataclass(frozen=True)
class Function(FloatOp):
    """A function, one of `ACTIVATIONS`, which the integer network looks up at 8-bit codes of its argument."""

    layer_before: ClassVar[str | None] = "fc1"
    layer_behind: ClassVar[str | None] = "fc2"
    kind: str

    def argument(self, x: Any) -> Any:
        """Of its first input [.., C], an array of any library, the columns that the function is taken of."""
        return x


@OPERATORS.register("Activation")
@dataclass(frozen=True)
class Activation(Function):
    """Unary function, one of `ACTIVATIONS`."""

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """That of its input."""
        return x[0]

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """Element by element."""
        from lampq_tvm.network.unary import UNARY

        return UNARY[self.kind](x[0])


@OPERATORS.register("Gate")
@dataclass(frozen=True)
class Gate(Function):
    """activation(gate) * value, inputs (gate, value): columns [gate_at, gate_at + width) and [value_at, ..) of layers."""

    gate_at: int
    value_at: int
    width: int

    def argument(self, x: Any) -> Any:
        """The gate's columns."""
        return x[..., self.gate_at : self.gate_at + self.width]

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """`width` channels."""
        return (*x[0][:-1], self.width)

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """[B, .., Ca] and [B, .., Cb] to [B, .., width]."""
        from lampq_tvm.network.unary import UNARY

        gate = UNARY[self.kind](self.argument(x[0]))
        return gate * x[1][..., self.value_at : self.value_at + self.width]
