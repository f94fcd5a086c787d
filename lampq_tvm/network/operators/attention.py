"""Softmax attention: of tokens over each other, and of constant queries over tokens."""

from __future__ import annotations

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
        import torch.nn.functional as F

        qkv, length = x[0], x[0].shape[-2]
        q, k, v = qkv.view(-1, max(self.groups, 1), length, 3, self.heads, self.head_dim).permute(3, 0, 1, 4, 2, 5)
        bias = tensors[f"{self.name}.bias"] if self.groups else None
        mixed = F.scaled_dot_product_attention(q, k, v, bias, scale=self.scale)
        return mixed.transpose(2, 3).reshape(*qkv.shape[:-1], self.heads * self.head_dim)


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
        import torch.nn.functional as F

        k, v = x[0].view(*x[0].shape[:-1], 2, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        query = tensors[self.query].expand(len(x[0]), -1, -1, -1)
        return F.scaled_dot_product_attention(query, k, v, scale=self.scale).transpose(1, 2).flatten(2)
