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

from lampq_tvm.kernels.frames import quick_frames
from lampq_tvm.kernels.isa import dot_for
from lampq_tvm.kernels.isa.dot import Dot, activation_word
from lampq_tvm.kernels.product import requantize, round_up

TILE_ROWS = {"vnni": 8, "dotprod": 8, "neon": 6, "avx2": 6}


@dataclass(frozen=True)
class AttentionShape:
    """Batch (images, or windows of all images), tokens, heads and channels per head.

    Attributes:
        groups: rows b of the batch add bias[b % groups] to their scores; 0 where nothing is added.
    """

    batch: int
    tokens: int
    heads: int
    head_dim: int
    groups: int = 0

    @property
    def key(self) -> str:
        """Short text that names the shape (`attention_b1_t197_h3_d64`)."""
        biased = f"_g{self.groups}" if self.groups else ""
        return f"attention_b{self.batch}_t{self.tokens}_h{self.heads}_d{self.head_dim}{biased}"

    @property
    def channels(self) -> int:
        """Channels of all heads together."""
        return self.heads * self.head_dim


@dataclass(frozen=True)
class Factor:
    """One head's right factor [columns, depth] (keys or values), padded and packed for a step, and its row operand.

    Attributes:
        step: the multiply-add step.
        columns, depth: true sizes.
        excess: what the row operand holds beyond its meaning: sums are corrected by -excess * (sum over depth).
    """

    step: Dot
    columns: int
    depth: int
    excess: int

    @property
    def padded(self) -> tuple[int, int]:
        """Columns and depth as stored."""
        return round_up(self.columns, self.step.lanes), round_up(self.depth, self.step.k_block)

    @property
    def packed(self) -> tuple[int, int, int, int]:
        """[columns / lanes, depth / group, lanes, group]."""
        columns, depth = self.padded
        return columns // self.step.lanes, depth // self.step.group, self.step.lanes, self.step.group

    @property
    def corrected(self) -> int:
        """Groups of the depth that the correction adds up: none where there is nothing to correct."""
        return self.packed[1] if self.excess else 0


def factors(shape: AttentionShape, isa: str, bits: int) -> tuple[Factor, Factor]:
    """Keys and values. A signed row operand holds p - 128 instead of p, an unsigned one q + shift instead of q."""
    qk, pv = dot_for(isa, bits, bits), dot_for(isa, bits, 8)
    keys = Factor(qk, shape.tokens, shape.head_dim, qk.shift)
    return keys, Factor(pv, shape.head_dim, shape.tokens, -128 if pv.a_dtype == "int8" else 0)


def bias_shape(shape: AttentionShape, isa: str, bits: int) -> tuple[int, int, int, int]:
    """Shape of the kernel's bias [groups, heads, query rows, key columns], both padded; ones where nothing is added."""
    if not shape.groups:
        return 1, 1, 1, 1
    columns = factors(shape, isa, bits)[0].padded[0]
    return shape.groups, shape.heads, round_up(shape.tokens, min(TILE_ROWS[isa], shape.tokens)), columns


def accumulate(f: Factor, acc: Any, rows: Any, packed: Any, row: Any, block: Any, k: Any, pair: Any) -> Expr:
    """One step of row `row` and column block `block` at step `k` of the depth: the new accumulator vector."""
    start, width = k * f.step.k_block, range(f.step.depth)
    words = [activation_word(rows, [row, start + j * f.step.group], f.step) for j in width]
    weights = [packed.vload([pair, block, k * f.step.depth + j, 0, 0], f"int8x{f.step.w_lanes}") for j in width]
    return f.step.step(acc.vload([row, 0], f"int32x{f.step.lanes}"), words, weights)


@quick_frames
def build_attention(shape: AttentionShape, isa: str, bits: int) -> PrimFunc:
    """The kernel for any shape and any width.

    Arguments of the function, in order: qkv [B * T, 3 * heads * head_dim] int8; S [heads] f32; P [256] uint8;
    M, B [heads * head_dim] f32; range [2] f32; bias `bias_shape` int32, added to the scores (what its padding holds does not
    matter); out [B * T, heads * head_dim] int8.

    Args:
        bits: width of the codes of q, k and v (p is an unsigned 8-bit table value at any width).
    """
    kf, vf = factors(shape, isa, bits)
    heads, dim, tokens, channels = shape.heads, shape.head_dim, shape.tokens, shape.channels
    pairs, tile, lanes = shape.batch * heads, min(TILE_ROWS[isa], tokens), kf.step.lanes
    tiles, whole = round_up(tokens, tile) // tile, tokens // lanes
    padding, groups, biased = vf.padded[1] - tokens, shape.groups, shape.groups > 0

    @T.inline
    def pack(f: Any, packed: Any, fix: Any, pair: Any, source: Any) -> None:
        """Lay out one head's factor; fix[column] = -excess times the sum over its depth."""
        for block, kq, lane, kr in T.grid(*f.packed):
            packed[pair, block, kq, lane, kr] = T.if_then_else(
                block * lanes + lane < f.columns and kq * f.step.group + kr < f.depth,
                source(block * lanes + lane, kq * f.step.group + kr),
                T.int8(0),
            )
        for block, lane in T.grid(f.packed[0], lanes):
            fix[pair, block * lanes + lane] = 0
            for kq, kr in T.grid(f.corrected, f.step.group):
                fix[pair, block * lanes + lane] -= f.excess * T.cast(packed[pair, block, kq, lane, kr], "int32")

    @T.inline
    def multiply(f: Any, acc: Any, rows: Any, packed: Any, pair: Any, block: Any) -> None:
        """acc[row, lane] = the tile's rows times one block of columns."""
        for row in T.unroll(tile):
            acc[row, T.ramp(0, 1, lanes)] = T.broadcast(0, lanes)
        for k in range(f.padded[1] // f.step.k_block):
            for row in T.unroll(tile):
                acc[row, T.ramp(0, 1, lanes)] = accumulate(f, acc, rows, packed, row, block, k, pair)

    @T.inline
    def row_maximum(scores: Any, top: Any, row: Any) -> None:
        """top[0] = the largest score of a row; padded columns stay out."""
        for lane in T.vectorized(lanes):
            top[lane] = scores[row, 0]
        for block in range(whole):
            for lane in T.vectorized(lanes):
                top[lane] = T.max(top[lane], scores[row, block * lanes + lane])
        for column in range(tokens % lanes):
            top[0] = T.max(top[0], scores[row, whole * lanes + column])
        for lane in range(1, lanes):
            top[0] = T.max(top[0], top[lane])

    @T.inline
    def softmax(scores: Any, top: Any, table: Any, scale: Any, p: Any, inverse: Any, row: Any) -> None:
        """Row operand p and 1 / sum(p) from a row of scores."""
        for block in range(kf.packed[0]):
            for lane in T.vectorized(lanes):
                scores[row, block * lanes + lane] = T.cast(
                    T.round(
                        T.max(
                            T.min(T.cast(top[0] - scores[row, block * lanes + lane], "float32") * scale, T.float32(255)),
                            T.float32(0),
                        )
                    ),
                    "int32",
                )
        top[0] = 0
        for column in range(tokens):
            p[row, column] = T.cast(T.cast(table[scores[row, column]], "int32") + vf.excess, vf.step.a_dtype)
            top[0] += T.cast(table[scores[row, column]], "int32")
        for column in range(padding):
            p[row, tokens + column] = T.cast(vf.excess, vf.step.a_dtype)
        inverse[row] = T.float32(1) / T.cast(top[0], "float32")

    @T.prim_func(s_tir=True)
    def attention(
        qkv: T.Buffer((shape.batch * tokens, 3 * channels), "int8"),
        scale: T.Buffer((heads,), "float32"),
        table: T.Buffer((256,), "uint8"),
        m_: T.Buffer((channels,), "float32"),
        b_: T.Buffer((channels,), "float32"),
        bounds: T.Buffer((2,), "float32"),
        bias: T.Buffer(bias_shape(shape, isa, bits), "int32"),
        out: T.Buffer((shape.batch * tokens, channels), "int8"),
    ) -> None:
        T.func_attr({"tirx.noalias": True})
        with T.sblock("root"):
            T.reads()
            T.writes()
            keys = T.sblock_alloc_buffer((pairs, *kf.packed), "int8")
            values = T.sblock_alloc_buffer((pairs, *vf.packed), "int8")
            key_fix = T.sblock_alloc_buffer((pairs, kf.padded[0]), "int32")
            value_fix = T.sblock_alloc_buffer((pairs, vf.padded[0]), "int32")
            for pair in T.parallel(pairs):
                first: T.let = pair // heads * tokens
                column: T.let = pair % heads * dim
                pack(kf, keys, key_fix, pair, lambda t, c: qkv[first + t, channels + column + c])
                pack(vf, values, value_fix, pair, lambda c, t: qkv[first + t, 2 * channels + column + c])
            for job in T.parallel(pairs * tiles):
                with T.sblock("tile"):
                    T.reads()
                    T.writes()
                    q = T.sblock_alloc_buffer((tile, kf.padded[1]), kf.step.a_dtype, scope="local")
                    scores = T.sblock_alloc_buffer((tile, kf.padded[0]), "int32", scope="local")
                    p = T.sblock_alloc_buffer((tile, vf.padded[1]), vf.step.a_dtype, scope="local")
                    inverse = T.sblock_alloc_buffer((tile,), "float32", scope="local")
                    acc = T.sblock_alloc_buffer((tile, lanes), "int32", scope="local")
                    top = T.sblock_alloc_buffer((lanes,), "int32", scope="local")
                    pair: T.let = job // tiles
                    token: T.let = job % tiles * tile
                    first: T.let = job // tiles // heads * tokens + job % tiles * tile
                    column: T.let = job // tiles % heads * dim
                    for row, c in T.grid(tile, kf.padded[1]):
                        q[row, c] = T.if_then_else(
                            token + row < tokens and c < dim,
                            T.cast(T.cast(qkv[first + row, column + c], "int32") + kf.excess, kf.step.a_dtype),
                            T.cast(0, kf.step.a_dtype),
                        )
                    for block in range(kf.packed[0]):
                        multiply(kf, acc, q, keys, pair, block)
                        for row in T.unroll(tile):
                            for lane in T.vectorized(lanes):
                                scores[row, block * lanes + lane] = acc[row, lane] + key_fix[pair, block * lanes + lane]
                            if biased:
                                for lane in T.vectorized(lanes):
                                    scores[row, block * lanes + lane] += bias[
                                        job // tiles // heads % groups,
                                        job // tiles % heads,
                                        token + row,
                                        block * lanes + lane,
                                    ]
                    for row in range(tile):
                        row_maximum(scores, top, row)
                        softmax(scores, top, table, scale[job // tiles % heads], p, inverse, row)
                    for block in range(vf.packed[0]):
                        multiply(vf, acc, p, values, pair, block)
                        for row, lane in T.grid(tile, lanes):
                            if token + row < tokens and block * lanes + lane < dim:
                                out[first + row, column + block * lanes + lane] = T.cast(
                                    requantize(
                                        T.cast(acc[row, lane] + value_fix[pair, block * lanes + lane], "float32")
                                        * inverse[row],
                                        m_[column + block * lanes + lane],
                                        b_[column + block * lanes + lane],
                                        bounds[0],
                                        bounds[1],
                                    ),
                                    "int8",
                                )

    return attention
