"""Softmax attention on codes: scores, table softmax and values of one head, a tile of query rows at a time.

Keys and values are first packed like weights, per head, so that both products run on the instruction set's multiply-add
step. Only a tile of scores exists at any time. The rules are the arithmetic table's: differences to the row's maximum
in int32, a 256-entry table, one division per row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.ir import Expr
from tvm.script import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.isa import dot_for
from lampq_tvm.kernels.isa.dot import Dot
from lampq_tvm.kernels.product import round_up

TILE_ROWS = {"vnni": 8, "dotprod": 8, "neon": 6, "avx2": 6}


@dataclass(frozen=True)
class AttentionShape:
    """Batch, tokens, heads and channels per head."""

    batch: int
    tokens: int
    heads: int
    head_dim: int

    @property
    def key(self) -> str:
        """Short text that names the shape (`attention_b1_t197_h3_d64`)."""
        return f"attention_b{self.batch}_t{self.tokens}_h{self.heads}_d{self.head_dim}"


def read_words(buffer: Any, start: list[Any], dot: Dot) -> list[Expr]:
    """The step's activation words at `start`, the innermost index being the first activation."""
    narrow, whole = f"{dot.a_dtype}x{dot.group}", f"int{int(dot.a_dtype.removeprefix('u')[3:]) * dot.group}"
    *outer, first = start
    return [T.reinterpret(buffer.vload([*outer, first + j * dot.group], narrow), dtype=whole) for j in range(dot.depth)]


def read_weights(buffer: Any, start: list[Any], dot: Dot) -> list[Expr]:
    """The step's weight vectors from packed [.., K / group, lanes, group] at `start`, its last index being K / group."""
    *outer, first = start
    return [buffer.vload([*outer, first + j, 0, 0], f"int8x{dot.w_lanes}") for j in range(dot.depth)]


def build_attention(shape: AttentionShape, isa: str, bits: int) -> PrimFunc:
    """The kernel for any shape and any width.

    Arguments of the function, in order: qkv [B * T, 3 * heads * head_dim] int8; S [heads] f32; P [256] uint8;
    M, B [heads * head_dim] f32; range [2] f32; out [B * T, heads * head_dim] int8.

    Args:
        bits: width of the codes of q, k and v (p is an unsigned 8-bit table value at any width).
    """
    qk, pv = dot_for(isa, bits, bits), dot_for(isa, bits, 8)
    heads, dim, tokens, pairs = shape.heads, shape.head_dim, shape.tokens, shape.batch * shape.heads
    channels, tile = heads * dim, min(TILE_ROWS[isa], tokens)
    tiles = round_up(tokens, tile) // tile
    key_columns, key_depth = round_up(tokens, qk.lanes), round_up(dim, qk.k_block)
    value_columns, value_depth = round_up(dim, pv.lanes), round_up(tokens, pv.k_block)
    # Signed operands hold p - 128; what that misses is 128 times the sum of the values' column.
    p_shift = 128 if pv.a_dtype == "int8" else 0
    key_fix_depth, value_fix_depth = (key_depth if qk.shift else 0), (value_depth if p_shift else 0)
    q_shift, whole = qk.shift, tokens // qk.lanes
    lanes, wide = qk.lanes, f"int32x{qk.lanes}"

    @T.prim_func(s_tir=True)
    def attention(
        qkv: T.Buffer((shape.batch * tokens, 3 * channels), "int8"),
        scale: T.Buffer((heads,), "float32"),
        table: T.Buffer((256,), "uint8"),
        m_: T.Buffer((channels,), "float32"),
        b_: T.Buffer((channels,), "float32"),
        bounds: T.Buffer((2,), "float32"),
        out: T.Buffer((shape.batch * tokens, channels), "int8"),
    ) -> None:
        T.func_attr({"tirx.noalias": True})
        with T.sblock("root"):
            T.reads()
            T.writes()
            keys = T.sblock_alloc_buffer((pairs, key_columns // lanes, key_depth // qk.group, lanes, qk.group), "int8")
            values = T.sblock_alloc_buffer((pairs, value_columns // lanes, value_depth // pv.group, lanes, pv.group), "int8")
            key_fix = T.sblock_alloc_buffer((pairs, key_columns), "int32")
            value_fix = T.sblock_alloc_buffer((pairs, value_columns), "int32")
            for pair in T.parallel(pairs):
                for block, kq, lane, kr in T.grid(key_columns // lanes, key_depth // qk.group, lanes, qk.group):
                    keys[pair, block, kq, lane, kr] = T.if_then_else(
                        block * lanes + lane < tokens and kq * qk.group + kr < dim,
                        qkv[
                            pair // heads * tokens + block * lanes + lane,
                            channels + pair % heads * dim + kq * qk.group + kr,
                        ],
                        T.int8(0),
                    )
                for block, kq, lane, kr in T.grid(value_columns // lanes, value_depth // pv.group, lanes, pv.group):
                    values[pair, block, kq, lane, kr] = T.if_then_else(
                        kq * pv.group + kr < tokens and block * lanes + lane < dim,
                        qkv[
                            pair // heads * tokens + kq * pv.group + kr,
                            2 * channels + pair % heads * dim + block * lanes + lane,
                        ],
                        T.int8(0),
                    )
                for t in range(key_columns):
                    key_fix[pair, t] = 0
                    for c in range(key_fix_depth):
                        key_fix[pair, t] -= q_shift * T.cast(
                            keys[pair, t // lanes, c // qk.group, t % lanes, c % qk.group], "int32"
                        )
                for c in range(value_columns):
                    value_fix[pair, c] = 0
                    for t in range(value_fix_depth):
                        value_fix[pair, c] += p_shift * T.cast(
                            values[pair, c // lanes, t // pv.group, c % lanes, t % pv.group], "int32"
                        )
            for job in T.parallel(pairs * tiles):
                with T.sblock("tile"):
                    T.reads()
                    T.writes()
                    q = T.sblock_alloc_buffer((tile, key_depth), qk.a_dtype, scope="local")
                    scores = T.sblock_alloc_buffer((tile, key_columns), "int32", scope="local")
                    p = T.sblock_alloc_buffer((tile, value_depth), pv.a_dtype, scope="local")
                    inverse = T.sblock_alloc_buffer((tile,), "float32", scope="local")
                    acc = T.sblock_alloc_buffer((tile, lanes), "int32", scope="local")
                    top = T.sblock_alloc_buffer((lanes,), "int32", scope="local")
                    total = T.sblock_alloc_buffer((1,), "int32", scope="local")
                    for r, c in T.grid(tile, key_depth):
                        q[r, c] = T.if_then_else(
                            job % tiles * tile + r < tokens and c < dim,
                            T.cast(
                                T.cast(
                                    qkv[
                                        job // tiles // heads * tokens + job % tiles * tile + r,
                                        job // tiles % heads * dim + c,
                                    ],
                                    "int32",
                                )
                                + q_shift,
                                qk.a_dtype,
                            ),
                            T.cast(0, qk.a_dtype),
                        )
                    for block in range(key_columns // lanes):
                        for r in T.unroll(tile):
                            acc[r, T.ramp(0, 1, lanes)] = T.broadcast(0, lanes)
                        for k in range(key_depth // qk.k_block):
                            for r in T.unroll(tile):
                                acc[r, T.ramp(0, 1, lanes)] = qk.step(
                                    acc.vload([r, 0], wide),
                                    read_words(q, [r, k * qk.k_block], qk),
                                    read_weights(keys, [job // tiles, block, k * qk.depth], qk),
                                )
                        for r in T.unroll(tile):
                            scores[r, T.ramp(block * lanes, 1, lanes)] = acc.vload([r, 0], wide) + key_fix.vload(
                                [job // tiles, block * lanes], wide
                            )
                    for r in range(tile):
                        for lane in T.vectorized(lanes):
                            top[lane] = scores[r, 0]
                        for block in range(whole):
                            for lane in T.vectorized(lanes):
                                top[lane] = T.max(top[lane], scores[r, block * lanes + lane])
                        for t in range(tokens % lanes):
                            top[0] = T.max(top[0], scores[r, whole * lanes + t])
                        for lane in range(1, lanes):
                            top[0] = T.max(top[0], top[lane])
                        for block in range(key_columns // lanes):
                            for lane in T.vectorized(lanes):
                                scores[r, block * lanes + lane] = T.cast(
                                    T.nearbyint(
                                        T.max(
                                            T.min(
                                                T.cast(top[0] - scores[r, block * lanes + lane], "float32")
                                                * scale[job // tiles % heads],
                                                T.float32(255),
                                            ),
                                            T.float32(0),
                                        )
                                    ),
                                    "int32",
                                )
                        total[0] = 0
                        for t in range(tokens):
                            p[r, t] = T.cast(T.cast(table[scores[r, t]], "int32") - p_shift, pv.a_dtype)
                            total[0] += T.cast(table[scores[r, t]], "int32")
                        for t in range(value_depth - tokens):
                            p[r, tokens + t] = T.cast(-p_shift, pv.a_dtype)
                        inverse[r] = T.float32(1) / T.cast(total[0], "float32")
                    for block in range(value_columns // lanes):
                        for r in T.unroll(tile):
                            acc[r, T.ramp(0, 1, lanes)] = T.broadcast(0, lanes)
                        for k in range(value_depth // pv.k_block):
                            for r in T.unroll(tile):
                                acc[r, T.ramp(0, 1, lanes)] = pv.step(
                                    acc.vload([r, 0], wide),
                                    read_words(p, [r, k * pv.k_block], pv),
                                    read_weights(values, [job // tiles, block, k * pv.depth], pv),
                                )
                        for r in range(tile):
                            if job % tiles * tile + r < tokens:
                                for lane in range(lanes):
                                    if block * lanes + lane < dim:
                                        out[
                                            job // tiles // heads * tokens + job % tiles * tile + r,
                                            job // tiles % heads * dim + block * lanes + lane,
                                        ] = T.cast(
                                            T.nearbyint(
                                                T.min(
                                                    T.max(
                                                        T.fma(
                                                            T.cast(
                                                                acc[r, lane] + value_fix[job // tiles, block * lanes + lane],
                                                                "float32",
                                                            )
                                                            * inverse[r],
                                                            m_[job // tiles % heads * dim + block * lanes + lane],
                                                            b_[job // tiles % heads * dim + block * lanes + lane],
                                                        ),
                                                        bounds[0],
                                                    ),
                                                    bounds[1],
                                                )
                                            ),
                                            "int8",
                                        )

    return attention
