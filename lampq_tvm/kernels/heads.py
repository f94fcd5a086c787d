"""Attention of constant queries."""

from __future__ import annotations

from typing import Any

from tvm.ir import Expr
from tvm.script import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.frames import quick_frames


def code(value: Expr, bounds: Any) -> Expr:
    """The code of a float: clamped, rounded to nearest even, int8."""
    return T.cast(T.round(T.min(T.max(value, bounds[0]), bounds[1])), "int8")


@quick_frames
def build_attention_pool(batch: int, tokens: int, heads: int, queries: int, head_dim: int) -> PrimFunc:
    """Attention of constant queries.

    Arguments: kv [batch * tokens, 2 * heads * head_dim] int8; query [heads, queries, head_dim] int8; S [heads] f32; P [256]
    uint8; M, B [heads * head_dim] f32; range [2] f32; out [batch * queries, heads * head_dim] int8.
    """
    channels = heads * head_dim

    @T.prim_func(s_tir=True)
    def attention_pool(
        kv: T.Buffer((batch * tokens, 2 * channels), "int8"),
        query: T.Buffer((heads, queries, head_dim), "int8"),
        scale: T.Buffer((heads,), "float32"),
        table: T.Buffer((256,), "uint8"),
        m_: T.Buffer((channels,), "float32"),
        b_: T.Buffer((channels,), "float32"),
        bounds: T.Buffer((2,), "float32"),
        out: T.Buffer((batch * queries, channels), "int8"),
    ) -> None:
        T.func_attr({"tirx.noalias": True})
        for job in T.parallel(batch * heads * queries):
            with T.sblock("job"):
                T.reads()
                T.writes()
                scores = T.sblock_alloc_buffer((tokens,), "int32", scope="local")
                sums = T.sblock_alloc_buffer((head_dim,), "int32", scope="local")
                top = T.sblock_alloc_buffer((1,), "int32", scope="local")
                inverse = T.sblock_alloc_buffer((1,), "float32", scope="local")
                first: T.let = job // queries // heads * tokens
                head: T.let = job // queries % heads
                top[0] = T.int32(-2147483648)
                for t in range(tokens):
                    scores[t] = 0
                    for c in range(head_dim):
                        scores[t] += T.cast(query[head, job % queries, c], "int32") * T.cast(
                            kv[first + t, head * head_dim + c], "int32"
                        )
                    top[0] = T.max(top[0], scores[t])
                for t in range(tokens):
                    scores[t] = T.cast(
                        table[
                            T.cast(T.round(T.min(T.cast(top[0] - scores[t], "float32") * scale[head], T.float32(255))), "int32")
                        ],
                        "int32",
                    )
                top[0] = 0
                for c in range(head_dim):
                    sums[c] = 0
                for t in range(tokens):
                    top[0] += scores[t]
                    for c in range(head_dim):
                        sums[c] += scores[t] * T.cast(kv[first + t, channels + head * head_dim + c], "int32")
                inverse[0] = T.float32(1) / T.cast(top[0], "float32")
                for c in range(head_dim):
                    out[job // queries // heads * queries + job % queries, head * head_dim + c] = code(
                        T.fma(T.cast(sums[c], "float32") * inverse[0], m_[head * head_dim + c], b_[head * head_dim + c]),
                        bounds,
                    )

    return attention_pool
