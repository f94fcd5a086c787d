"""What some models do to q and k before the attention, head by head: divide by their lengths, turn by their token's angles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lampq_tvm.network.op import HeadOp, Shape, Shaped
from lampq_tvm.network.operators import OPERATORS

if TYPE_CHECKING:
    from torch import Tensor


@OPERATORS.register("UnitHeads")
@dataclass(frozen=True)
class UnitHeads(HeadOp):
    """q and k of a fused qkv value over their lengths (at least eps), head by head; q then times `{name}.scale` [heads]."""

    eps: float

    def sampled(self, x: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """Each row by itself."""
        return unit_heads(self, x, tensors[f"{self.name}.scale"])

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """That of its input."""
        return x[0]

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """[.., 3 * heads * head_dim] to the same."""
        return unit_heads(self, x[0], tensors[f"{self.name}.scale"])


def unit_heads(op: UnitHeads, qkv: Tensor, scale: Tensor) -> Tensor:
    """q and k of [.., 3 * heads * head_dim] over their lengths, q times its head's scale."""
    import torch
    import torch.nn.functional as F

    q, k, v = qkv.view(*qkv.shape[:-1], 3, op.heads, op.head_dim).unbind(-3)
    q, k = F.normalize(q, dim=-1, eps=op.eps) * scale[:, None], F.normalize(k, dim=-1, eps=op.eps)
    return torch.stack([q, k, v], -3).flatten(-3)


@OPERATORS.register("Rotary")
@dataclass(frozen=True)
class Rotary(HeadOp):
    """q and k of a fused qkv value turned head by head: x * cos + x[partner] * sin, the sign being that of sin.

    Tensors: `{name}.cos`, `{name}.sin` [T, head_dim]; `{name}.partner` int32 [head_dim]. Calibration samples what it turns.
    """

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """That of its input."""
        return x[0]

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """q and k of [.., T, 3 * heads * head_dim] turned by their token's angles."""
        import torch

        parts = x[0].view(*x[0].shape[:-1], 3, self.heads, self.head_dim)
        turning, v = parts[..., :2, :, :], parts[..., 2:, :, :]
        cos, sin = (tensors[f"{self.name}.{k}"][:, None, None] for k in ("cos", "sin"))
        turned = turning * cos + turning[..., tensors[f"{self.name}.partner"].long()] * sin
        return torch.cat([turned, v], -3).flatten(-3)
