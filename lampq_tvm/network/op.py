"""What every operator is, of the float network and of the integer network: a frozen dataclass that names what it reads."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Self

IMAGE = "image"  # name of the network's input
# Without the batch: (channels,), (tokens, channels) or (windows, tokens, channels); of the image (channels, height, width).
Shape = tuple[int, ...]
T = TypeVar("T")


class Shaped(Protocol):
    """An array of any library."""

    @property
    def shape(self) -> Sequence[int]:
        """Its extents."""


@dataclass(frozen=True)
class Op:
    """An operator; its output value carries the operator's name.

    Attributes:
        name: unique name, the parameter path in the source model where it has one (`blocks.0.attn.qkv`).
        inputs: names of the values it reads; `image` is the network's input.
    """

    name: str
    inputs: tuple[str, ...]

    @classmethod
    def of_fields(cls, row: Mapping[str, Any]) -> Self:
        """From JSON values by field."""
        return cls(**row)

    @property
    def reads_image(self) -> bool:
        """Whether it reads the image itself, whose codes are pixels."""
        return IMAGE in self.inputs

    def constants(self, tensors: Mapping[str, T]) -> dict[str, T]:
        """The operator's own tensors of a network's, by field."""
        return {k[len(self.name) + 1 :]: v for k, v in tensors.items() if k.rpartition(".")[0] == self.name}

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """Shape of its output from those of its inputs.

        Raises:
            UnsupportedError: the operator has no rule.
        """
        raise UnsupportedError("there is no rule for the shape of this operator", where=f"{self.name} ({type(self).__name__})")


@dataclass(frozen=True)
class FloatOp(Op):
    """An operator of the float network.

    Attributes:
        on_codes: whether its integer form can work on codes of its input: those of its own quantizer, or those it passes on.
        layer_before, layer_behind: type of a linear layer whose output it reads, and of one that reads its own; None where that
            says nothing.
        gives_logits: whether it gives class logits where it is the network's last.
    """

    on_codes: ClassVar[bool] = False
    layer_before: ClassVar[str | None] = None
    layer_behind: ClassVar[str | None] = None
    gives_logits: ClassVar[bool] = False

    @property
    def layer_type(self) -> str | None:
        """Its type in the layer table; None where it has no weights `{name}.weight` [N, ...] and `{name}.bias` [N]."""
        return None

    def product_rows(self, output: Shape) -> int:
        """Rows that a product multiplies with its weights for one image, from its output's shape."""
        return math.prod(output[:-1])

    def columns(self, x: Tensor) -> Tensor:
        """Its input [B, ..] as its weights multiply it: [B, rows, K]."""
        return x.reshape(len(x), -1, x.shape[-1])

    def products(self, y: Tensor) -> Tensor:
        """Of its output [B, .., N], or of gradients there, the rows that its weights made: [B, rows, N]."""
        return y.reshape(len(y), -1, y.shape[-1])

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """Its output in float32, [B, *shape]; gradients flow through it.

        Raises:
            UnsupportedError: the operator has no rule.
        """
        raise UnsupportedError(f"no float rule for operator {type(self).__name__}", where=self.name)


@dataclass(frozen=True)
class HeadOp(FloatOp):
    """An operator on heads of a fused value, head-major: of q, k and v, or of k and v."""

    layer_before: ClassVar[str | None] = "qkv"
    heads: int
    head_dim: int

    def sampled(self, x: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """Of rows [R, C] of its input, wherever they stand, rows with the ranges that its output has in each head."""
        return x


def op_to_json(op: Op) -> dict[str, Any]:
    """An operator's JSON row: its fields, and `op`, the name of its class."""
    return {"op": type(op).__name__, **dataclasses.asdict(op)}


def op_from_json(row: Mapping[str, Any], types: Registry[str, type[Any]]) -> Any:
    """An operator from its JSON row (lists become tuples).

    Raises:
        LampqError: `types` has no such operator.
    """
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items() if k != "op"}
    return types.find(row["op"]).of_fields(fields)
