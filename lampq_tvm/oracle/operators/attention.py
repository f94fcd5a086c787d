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
    sizes = op.heads, op.head_dim, op.encode.grid
    if op.kind.is_float:
        codes = ops.half_attention(windows, t["S"], t["M"], t["B"], *sizes, bias)
    else:
        codes = ops.attention(windows, t["S"], t["P"], t["M"], t["B"], *sizes, bias)
    return ops.stored(codes.reshape(*x[0].shape[:-1], -1), op.encode, t)


@RULES.register(QAttentionPool)
def attention_pool(op: QAttentionPool, t: dict[str, Array], x: list[Array]) -> Array:
    """Constant queries."""
    codes = ops.attention_pool(x[0], t["query"], t["S"], t.get("P"), t["M"], t["B"], op.encode.grid)
    return ops.stored(codes, op.encode, t)
