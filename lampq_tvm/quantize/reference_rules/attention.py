"""Softmax attention: of tokens over each other, and of constant queries over tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from lampq_tvm.quantize import exact
from lampq_tvm.quantize.operators.attention import QAttention, QAttentionPool
from lampq_tvm.quantize.reference_rules import RULES


@RULES.register(QAttention)
def attention(op: QAttention, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """Attention on codes; every head's scores at once."""
    codes = x[0]
    tokens = codes.shape[-2]
    query, key, value = codes.view(-1, tokens, 3, op.heads, op.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
    bias = t["bias"][:, t["at"].long()[t["pattern"].long()]].transpose(0, 1) if op.groups else None
    if op.kind.is_float:
        mixed = half_attention(query, key, value, t["S"], bias).transpose(1, 2).reshape(*codes.shape[:-1], -1)
        return exact.encode(exact.fma(mixed, t["M"], t["B"]), op.encode, t)
    scores = exact.product(query, key.transpose(-1, -2), op.head_dim << (2 * op.kind.bits - 2))
    if bias is not None:
        scores = (scores.view(-1, *bias.shape).double() + bias).view(scores.shape)
    below = (scores.amax(-1, keepdim=True) - scores).float()
    index = (below * t["S"].view(-1, 1, 1)).round().clamp(max=255).int()
    p = t["P"][index]
    total = p.sum(-1, keepdim=True, dtype=torch.int32).float()
    acc = exact.product(p, value, tokens * 255 << (op.kind.bits - 1))
    merged = (acc.float() * exact.reciprocal(total)).transpose(1, 2).reshape(*codes.shape[:-1], -1)
    return exact.encode(exact.fma(merged, t["M"], t["B"]), op.encode, t)


@RULES.register(QAttentionPool)
def attention_pool(op: QAttentionPool, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """Codes kv [B, T, 2 * heads * head_dim] to codes [B, L, heads * head_dim]."""
    codes = x[0]
    batch, tokens, _ = codes.shape
    key, value = codes.view(batch, tokens, 2, op.heads, op.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
    if op.kind.is_float:
        mixed = half_attention(t["query"], key, value, t["S"])
        return exact.encode(exact.fma(mixed.transpose(1, 2).flatten(2), t["M"], t["B"]), op.encode, t)
    scores = exact.product(t["query"], key.transpose(-1, -2), op.head_dim << (2 * op.kind.bits - 2))
    below = (scores.amax(-1, keepdim=True) - scores).float()
    p = t["P"][(below * t["S"].view(-1, 1, 1)).round().clamp(max=255).int()]
    total = p.sum(-1, keepdim=True, dtype=torch.int32).float()
    mixed = exact.product(p, value, tokens * 255 << (op.kind.bits - 1)).float() * exact.reciprocal(total)
    return exact.encode(exact.fma(mixed.transpose(1, 2).flatten(2), t["M"], t["B"]), op.encode, t)


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
