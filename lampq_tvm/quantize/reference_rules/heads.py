"""What happens to q and k before they become codes: lengths, rotary embedding."""

from __future__ import annotations

import torch
from torch import Tensor

from lampq_tvm.kinds import Encode
from lampq_tvm.quantize import exact
from lampq_tvm.quantize.operators.heads import QRotary, QUnitHeads
from lampq_tvm.quantize.reference_rules import RULES


@RULES.register(QUnitHeads)
def unit_heads(op: QUnitHeads, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """Float qkv [.., 3 * heads * head_dim] to codes: q and k over their lengths."""
    parts = _split(x[0], op.heads)
    length = exact.squares(parts).double().sqrt().float()
    inverse = exact.reciprocal(length.clamp(min=float(torch.tensor(op.eps, dtype=torch.float32))))
    turned = torch.cat([(parts * inverse)[..., :2, :, :], parts[..., 2:, :, :]], -3)
    return _codes(turned, t, op.encode).view(x[0].shape)


@RULES.register(QRotary)
def rotary(op: QRotary, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """Float qkv [.., T, 3 * heads * head_dim] to codes: q and k turned by their token's angles."""
    parts = _split(x[0], op.heads)
    still, value = parts[..., :2, :, :], parts[..., 2:, :, :]
    cos, sin = (t[k][:, None, None] for k in ("cos", "sin"))
    partner = still.index_select(-1, t["partner"]) * sin
    turned = torch.cat([exact.fma(still, cos.expand_as(still), partner), value], -3)
    return _codes(turned, t, op.encode).view(x[0].shape)


def _split(qkv: Tensor, heads: int) -> Tensor:
    """[.., 3 * heads * head_dim] as [.., 3, heads, head_dim]."""
    return qkv.view(*qkv.shape[:-1], 3, heads, -1)


def _codes(x: Tensor, t: dict[str, Tensor], how: Encode) -> Tensor:
    """Codes of [.., 3, heads, head_dim] with `inv`, 1 / scale [3, heads]."""
    return exact.encode(exact.fma(x, t["inv"][..., None], torch.zeros(())), how, t)
