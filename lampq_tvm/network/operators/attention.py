"""Softmax attention: of tokens over each other, and of constant queries over tokens."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lampq_tvm.network.op import HeadOp, Shape, Shaped
from lampq_tvm.network.operators import OPERATORS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Attends(HeadOp):
    """Softmax attention; its input is quantized head by head."""

    layer_behind: ClassVar[str | None] = "proj"
    scale: float

    @property
    def query(self) -> str | None:
        """Name of the tensor [heads, L, head_dim] of constant queries; None where q is part of its input."""
        return None

    @abstractmethod
    def operands(self, x: Tensor, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v of an input, each [.., heads, tokens, head_dim]."""

    def bias(self, tensors: Mapping[str, Tensor]) -> Tensor | None:
        """What is added to the scaled scores."""
        return None

    def scores(self, x: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """What the softmax is taken of: [.., heads, queries, keys]."""
        q, k, _ = self.operands(x, tensors)
        found, bias = self.scale * (q @ k.transpose(-1, -2)), self.bias(tensors)
        return found if bias is None else found + bias

    @abstractmethod
    def joined(self, mixed: Tensor, x: Tensor) -> Tensor:
        """The heads of what `mixed` gives side by side; x is the input."""

    def mixed(self, x: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """Values by their probabilities, [.., heads, queries, head_dim]."""
        import torch.nn.functional as F

        q, k, v = self.operands(x, tensors)
        return F.scaled_dot_product_attention(q, k, v, self.bias(tensors), scale=self.scale)


@OPERATORS.register("Attention")
@dataclass(frozen=True)
class Attention(Attends):
    """Softmax attention over a fused qkv value [B, T, 3 * heads * head_dim] (q, then k, then v, each head-major).

    Output: [B, T, heads * head_dim]; scores are multiplied by `scale` before the softmax. With windows the value is
    [B, windows, T, channels] and tokens see those of their window only.
    Tensor, where `groups` is not 0: `{name}.bias` [groups, heads, T, T], added to the scaled scores; window w takes group
    w % groups.
    """

    groups: int = 0

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """A third of the channels."""
        return (*x[0][:-1], self.heads * self.head_dim)

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """Fused qkv [B, (windows,) T, 3 * heads * head_dim] to [B, (windows,) T, heads * head_dim]."""
        return self.joined(self.mixed(x[0], tensors), x[0])

    def joined(self, mixed: Tensor, x: Tensor) -> Tensor:
        """[.., groups, heads, T, head_dim] to [B, (windows,) T, heads * head_dim]."""
        return mixed.transpose(2, 3).reshape(*x.shape[:-1], self.heads * self.head_dim)

    def operands(self, x: Tensor, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Each [B * windows / groups, groups, heads, T, head_dim]."""
        parts = x.view(-1, max(self.groups, 1), x.shape[-2], 3, self.heads, self.head_dim)
        q, k, v = parts.permute(3, 0, 1, 4, 2, 5)
        return q, k, v

    def bias(self, tensors: Mapping[str, Tensor]) -> Tensor | None:
        """Of each group of windows."""
        return tensors[f"{self.name}.bias"] if self.groups else None


@OPERATORS.register("AttentionPool")
@dataclass(frozen=True)
class AttentionPool(Attends):
    """Softmax attention of constant queries over a fused kv value [B, T, 2 * heads * head_dim] (k, then v, each head-major).

    Tensor: `{name}.query` [heads, L, head_dim]. Output: [B, L, heads * head_dim].
    """

    @property
    def query(self) -> str:
        """Name of the queries."""
        return f"{self.name}.query"

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """A token a query."""
        return tensors[self.query].shape[1], self.heads * self.head_dim

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """Fused kv [B, T, 2 * heads * head_dim] to [B, L, heads * head_dim]."""
        return self.joined(self.mixed(x[0], tensors), x[0])

    def joined(self, mixed: Tensor, x: Tensor) -> Tensor:
        """[B, heads, L, head_dim] to [B, L, heads * head_dim]."""
        return mixed.transpose(1, 2).flatten(2)

    def operands(self, x: Tensor, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Each [B, heads, tokens, head_dim]."""
        k, v = x.view(*x.shape[:-1], 2, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        return tensors[self.query].expand(len(x), -1, -1, -1), k, v
