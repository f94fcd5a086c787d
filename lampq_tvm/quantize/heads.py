"""The torch reference of what happens to heads beside plain attention: constant queries, lengths, rotary embedding."""

from __future__ import annotations

import torch
from torch import Tensor

from lampq_tvm.plan import FLOAT_BITS
from lampq_tvm.quantize import exact
from lampq_tvm.quantize import model as q


def attention_pool(op: q.QAttentionPool, t: dict[str, Tensor], codes: Tensor) -> Tensor:
    """Codes kv [B, T, 2 * heads * head_dim] to codes [B, L, heads * head_dim]."""
    batch, tokens, _ = codes.shape
    key, value = codes.view(batch, tokens, 2, op.heads, op.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
    if op.bits == FLOAT_BITS:
        mixed = half_attention(t["query"], key, value, t["S"])
        return exact.saturate(exact.fma(mixed.transpose(1, 2).flatten(2), t["M"], t["B"]), op.out_bits)
    scores = exact.product(t["query"], key.transpose(-1, -2), op.head_dim << (2 * op.bits - 2))
    below = (scores.amax(-1, keepdim=True) - scores).float()
    p = t["P"][(below * t["S"].view(-1, 1, 1)).round().clamp(max=255).int()]
    total = p.sum(-1, keepdim=True, dtype=torch.int32).float()
    mixed = exact.product(p, value, tokens * 255 << (op.bits - 1)).float() * exact.reciprocal(total)
    return exact.saturate(exact.fma(mixed.transpose(1, 2).flatten(2), t["M"], t["B"]), op.out_bits)


def half_attention(query: Tensor, key: Tensor, value: Tensor, S: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax attention of float16 values [N, heads, T, head_dim], weights rounded to float16; float32.

    Args:
        query: [heads, T, head_dim] where it is the same for all N.
        S: [heads].
        bias: [groups, heads, T, T] float32, row n taking group n % groups.
    """
    acc, scale = exact.half_product(query, key.transpose(-1, -2)), S.view(-1, 1, 1)
    scores = acc * scale if bias is None else exact.fma(acc.view(-1, *bias.shape), scale, bias).view(acc.shape)
    p = torch.exp2(scores - scores.amax(-1, keepdim=True)).half()
    return exact.half_product(p, value) * exact.reciprocal(p.float().sum(-1, keepdim=True))


def unit(op: q.QUnitHeads, t: dict[str, Tensor], qkv: Tensor) -> Tensor:
    """Float qkv [.., 3 * heads * head_dim] to codes: q and k over their lengths."""
    parts = _split(qkv, op.heads)
    length = exact.squares(parts).double().sqrt().float()
    inverse = exact.reciprocal(length.clamp(min=float(torch.tensor(op.eps, dtype=torch.float32))))
    turned = torch.cat([(parts * inverse)[..., :2, :, :], parts[..., 2:, :, :]], -3)
    return _codes(turned, t["inv"], op.out_bits).view(qkv.shape)


def rotary(op: q.QRotary, t: dict[str, Tensor], qkv: Tensor) -> Tensor:
    """Float qkv [.., T, 3 * heads * head_dim] to codes: q and k turned by their token's angles."""
    parts = _split(qkv, op.heads)
    still, value = parts[..., :2, :, :], parts[..., 2:, :, :]
    cos, sin = (t[k][:, None, None] for k in ("cos", "sin"))
    partner = still.index_select(-1, t["partner"]) * sin
    turned = torch.cat([exact.fma(still, cos.expand_as(still), partner), value], -3)
    return _codes(turned, t["inv"], op.out_bits).view(qkv.shape)


def _split(qkv: Tensor, heads: int) -> Tensor:
    """[.., 3 * heads * head_dim] as [.., 3, heads, head_dim]."""
    return qkv.view(*qkv.shape[:-1], 3, heads, -1)


def _codes(x: Tensor, inv: Tensor, bits: int) -> Tensor:
    """Codes of [.., 3, heads, head_dim] with 1 / scale [3, heads]."""
    return exact.saturate(exact.fma(x, inv[..., None], torch.zeros(())), bits)
