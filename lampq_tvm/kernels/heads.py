"""Attention of constant queries: one query of one head at a time, scalar work throughout."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.emit import function
from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.kernels.sink import CodeSink, sink_argument

LOWEST = -(1 << 31)  # below every score


def build_attention_pool(
    batch: int, tokens: int, heads: int, queries: int, head_dim: int, isa: str, *, table: bool = False
) -> PrimFunc:
    """Attention of constant queries.

    Arguments: kv [batch * tokens, 2 * heads * head_dim] int8; query [heads, queries, head_dim] int8; S [heads] f32; P [256]
    uint8; M, B [heads * head_dim] f32; range [2] f32; out [batch * queries, heads * head_dim] int8.
    """
    channels = heads * head_dim

    def body(kv: Any, query: Any, scale: Any, weights: Any, m: Any, b: Any, encode: Any, out: Any) -> None:
        sink = CodeSink.of(LEVELS[isa], out, encode, table=table)
        with T.parallel(0, batch * heads * queries) as job, T.sblock("job"):
            T.reads()
            T.writes()
            scores = T.sblock_alloc_buffer((tokens,), "int32", scope="local")
            sums = T.sblock_alloc_buffer((head_dim,), "int32", scope="local")
            top = T.sblock_alloc_buffer((1,), "int32", scope="local")
            inverse = T.sblock_alloc_buffer((1,), "float32", scope="local")
            first, head = T.Bind(job // queries // heads * tokens), T.Bind(job // queries % heads)
            column, row = head * head_dim, job // queries // heads * queries + job % queries
            T.buffer_store(top, _int(LOWEST), [0])
            with T.serial(0, tokens) as t:
                T.buffer_store(scores, _int(0), [t])
                with T.serial(0, head_dim) as c:
                    product = _wide(query[head, job % queries, c]) * _wide(kv[first + t, column + c])
                    T.buffer_store(scores, scores[t] + product, [t])
                T.buffer_store(top, tirx.max(top[0], scores[t]), [0])
            with T.serial(0, tokens) as t:
                place = T.Cast("float32", top[0] - scores[t]) * scale[head]
                index = _wide(T.round(tirx.min(place, tirx.const(255.0, "float32"))))
                T.buffer_store(scores, _wide(weights[index]), [t])
            T.buffer_store(top, _int(0), [0])
            with T.serial(0, head_dim) as c:
                T.buffer_store(sums, _int(0), [c])
            with T.serial(0, tokens) as t:
                T.buffer_store(top, top[0] + scores[t], [0])
                with T.serial(0, head_dim) as c:
                    value = _wide(kv[first + t, channels + column + c])
                    T.buffer_store(sums, sums[c] + scores[t] * value, [c])
            T.buffer_store(inverse, tirx.const(1.0, "float32") / T.Cast("float32", top[0]), [0])
            with T.serial(0, head_dim) as c:
                code = T.fma(T.Cast("float32", sums[c]) * inverse[0], m[column + c], b[column + c])
                sink.put([code], column + c, 1, row)

    arguments = [
        ("kv", (batch * tokens, 2 * channels), "int8"),
        ("query", (heads, queries, head_dim), "int8"),
        ("S", (heads,), "float32"),
        ("P", (256,), "uint8"),
        ("M", (channels,), "float32"),
        ("B", (channels,), "float32"),
        sink_argument(table=table),
        ("out", (batch * queries, channels), "int8"),
    ]
    return function("attention_pool", arguments, body)


def _int(value: int) -> Expr:
    return tirx.const(value, "int32")


def _wide(value: Expr) -> Expr:
    """As int32."""
    return T.Cast("int32", value)
