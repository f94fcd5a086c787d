"""Softmax attention: of tokens over each other, and of constant queries over tokens."""

from __future__ import annotations

from lampq_tvm.oracle import ops
from lampq_tvm.oracle.operators import RULES, Array
from lampq_tvm.quantize.operators.attention import QAttention, QAttentionPool


@RULES.register(QAttention)
def attention(op: QAttention, t: dict[str, Array], x: list[Array]) -> Array:
    """Window by window."""
    bias = t["bias"][:, t["at"][t["pattern"]]].swapaxes(0, 1) if op.groups else None
    windows = x[0].reshape(-1, *x[0].shape[-2:])
    if op.bits == ops.HALF_BITS:
        mixed = ops.half_attention(windows, t["S"], t["M"], t["B"], op.heads, op.head_dim, op.out_bits, bias)
        return mixed.reshape(*x[0].shape[:-1], -1)
    codes = ops.attention(windows, t["S"], t["P"], t["M"], t["B"], op.heads, op.head_dim, op.out_bits, bias)
    return codes.reshape(*x[0].shape[:-1], -1)


@RULES.register(QAttentionPool)
def attention_pool(op: QAttentionPool, t: dict[str, Array], x: list[Array]) -> Array:
    """Constant queries."""
    return ops.attention_pool(x[0], t["query"], t["S"], t.get("P"), t["M"], t["B"], op.out_bits)
