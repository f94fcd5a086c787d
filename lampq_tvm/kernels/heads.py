"""What happens to heads beside plain attention: lengths and rotary embedding before it, constant queries instead of it."""

from __future__ import annotations

from typing import Any

from tvm.ir import Expr
from tvm.script import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.frames import quick_frames

LANES = 32
VECTOR = 16  # float32 gated at once


def code(value: Expr, bounds: Any) -> Expr:
    """The code of a float: clamped, rounded to nearest even, int8."""
    return T.cast(T.round(T.min(T.max(value, bounds[0]), bounds[1])), "int8")


@quick_frames
def build_unit_heads(rows: int, heads: int, head_dim: int, eps: float) -> PrimFunc:
    """q and k over their lengths, then codes.

    Arguments: qkv [rows, 3 * heads * head_dim] f32; inv [3, heads] f32; range [2] f32; out int8 of qkv's shape. Squares are
    added in 32 strided lanes, then halves: 16, 8, 4, 2, 1.
    """
    channels = heads * head_dim

    @T.prim_func(s_tir=True)
    def unit_heads(
        qkv: T.Buffer((rows, 3 * channels), "float32"),
        inv: T.Buffer((3, heads), "float32"),
        bounds: T.Buffer((2,), "float32"),
        out: T.Buffer((rows, 3 * channels), "int8"),
    ) -> None:
        T.func_attr({"tirx.noalias": True})
        for row in T.parallel(rows):
            with T.sblock("row"):
                T.reads()
                T.writes()
                lanes = T.sblock_alloc_buffer((LANES,), "float32", scope="local")
                inverse = T.sblock_alloc_buffer((1,), "float32", scope="local")
                for head in range(2 * heads):
                    for lane in range(LANES):
                        lanes[lane] = T.float32(0)
                    for c in range(head_dim):
                        lanes[c % LANES] = T.fma(
                            qkv[row, head * head_dim + c], qkv[row, head * head_dim + c], lanes[c % LANES]
                        )
                    for step in range(5):
                        for lane in range(T.shift_right(16, step)):
                            lanes[lane] = lanes[lane] + lanes[lane + T.shift_right(16, step)]
                    inverse[0] = T.float32(1) / T.max(T.sqrt(lanes[0]), T.float32(eps))
                    for c in range(head_dim):
                        out[row, head * head_dim + c] = code(
                            T.fma(
                                qkv[row, head * head_dim + c] * inverse[0], inv[head // heads, head % heads], T.float32(0)
                            ),
                            bounds,
                        )
                for head, c in T.grid(heads, head_dim):
                    out[row, 2 * channels + head * head_dim + c] = code(
                        T.fma(qkv[row, 2 * channels + head * head_dim + c], inv[2, head], T.float32(0)), bounds
                    )

    return unit_heads


@quick_frames
def build_rotary(rows: int, tokens: int, heads: int, head_dim: int) -> PrimFunc:
    """q and k turned, then codes: u = fma(x[c], cos[t, c], fl(x[partner[c]] * sin[t, c])).

    Arguments: qkv [rows, 3 * heads * head_dim] f32, row r being token r % tokens; cos, sin [tokens, head_dim] f32; partner
    [head_dim] int32; inv [3, heads] f32; range [2] f32; out int8 of qkv's shape.
    """
    channels = heads * head_dim

    @T.prim_func(s_tir=True)
    def rotary(
        qkv: T.Buffer((rows, 3 * channels), "float32"),
        cos: T.Buffer((tokens, head_dim), "float32"),
        sin: T.Buffer((tokens, head_dim), "float32"),
        partner: T.Buffer((head_dim,), "int32"),
        inv: T.Buffer((3, heads), "float32"),
        bounds: T.Buffer((2,), "float32"),
        out: T.Buffer((rows, 3 * channels), "int8"),
    ) -> None:
        T.func_attr({"tirx.noalias": True})
        for row in T.parallel(rows):
            for head, c in T.grid(2 * heads, head_dim):
                out[row, head * head_dim + c] = code(
                    T.fma(
                        T.fma(
                            qkv[row, head * head_dim + c],
                            cos[row % tokens, c],
                            qkv[row, head * head_dim + partner[c]] * sin[row % tokens, c],
                        ),
                        inv[head // heads, head % heads],
                        T.float32(0),
                    ),
                    bounds,
                )
            for head, c in T.grid(heads, head_dim):
                out[row, 2 * channels + head * head_dim + c] = code(
                    T.fma(qkv[row, 2 * channels + head * head_dim + c], inv[2, head], T.float32(0)), bounds
                )

    return rotary


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
                            T.cast(
                                T.round(T.min(T.cast(top[0] - scores[t], "float32") * scale[head], T.float32(255))), "int32"
                            )
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
                        T.fma(
                            T.cast(sums[c], "float32") * inverse[0], m_[head * head_dim + c], b_[head * head_dim + c]
                        ),
                        bounds,
                    )

    return attention_pool


@quick_frames
def build_gate(rows: int, gates: int, values: int, gate_at: int, value_at: int, width: int) -> PrimFunc:
    """fl(table[sat(rne(g)) + 128] * x) of columns of g [rows, gates] and x [rows, values] f32; table [256], out f32.

    The output may be g or x itself where all of its columns are taken, so the vectors are written out.
    """
    whole = width // VECTOR * VECTOR

    @T.prim_func(s_tir=True)
    def gate(
        g: T.Buffer((rows, gates), "float32"),
        x: T.Buffer((rows, values), "float32"),
        table: T.Buffer((256,), "float32"),
        out: T.Buffer((rows, width), "float32"),
    ) -> None:
        for row in T.parallel(rows):
            for block in range(whole // VECTOR):
                for lane in T.vectorized(VECTOR):
                    c: T.let = block * VECTOR + lane
                    index: T.let = T.cast(T.round(T.min(T.max(g[row, gate_at + c], T.float32(-128)), T.float32(127))), "int32")
                    out[row, c] = table[index + 128] * x[row, value_at + c]
            for rest in range(width - whole):
                c: T.let = whole + rest
                index: T.let = T.cast(T.round(T.min(T.max(g[row, gate_at + c], T.float32(-128)), T.float32(127))), "int32")
                out[row, c] = table[index + 128] * x[row, value_at + c]

    return gate
