"""Softmax attention on codes: scores, table softmax and values of one head, a tile of query rows at a time.

Keys and values are first packed like weights, per head, so that both products run on the instruction set's multiply-add.
Only a tile of scores exists at any time. The rules are the arithmetic table's: differences to the row's maximum in int32, a
256-entry table, one division per row. The last tile is moved up to end with the last row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.emit import function, pick, ramp
from lampq_tvm.kernels.factor import Factor, Sink, Sums, row_tiles
from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.kernels.panel import BYTES, lay_out, panel_shape
from lampq_tvm.kernels.shapes import round_up
from lampq_tvm.kernels.sink import CodeSink, sink_argument
from lampq_tvm.kernels.softmax import Softmax
from lampq_tvm.kernels.table import Table
from lampq_tvm.kernels.threads import Own, each_thread, hooks
from lampq_tvm.kernels.tiles import Tiles

SOFTMAX = 3  # instructions of a score from its sum to its code, as they come on Arm
LOWEST = -(1 << 31)  # below every score


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


def factors(shape: AttentionShape, isa: str, bits: int) -> tuple[Factor, Factor]:
    """Keys and values. A signed row operand holds p - 128 instead of p, an unsigned one q + shift instead of q."""
    peak, level = 1 << (bits - 1), LEVELS[isa]
    qk, pv = level.dot(peak, bits, level.head_side), level.unsigned_dot(peak, level.head_side)
    keys = Factor(qk, shape.tokens, shape.head_dim, qk.shift)
    return keys, Factor(pv, shape.head_dim, shape.tokens, -128 if pv.a_dtype == "int8" else 0)


def bias_shape(shape: AttentionShape, isa: str, bits: int) -> tuple[int, int, int, int]:
    """Shape of the kernel's bias [groups, heads, query rows, key columns], columns padded; ones where nothing is added."""
    if not shape.groups:
        return 1, 1, 1, 1
    return shape.groups, shape.heads, shape.tokens, factors(shape, isa, bits)[0].padded[0]


def attention_tiles(shape: AttentionShape, isa: str, bits: int) -> Tiles:
    """Sizes without tuning: those with the fewest multiply-adds, loads and scores, rows computed twice included."""
    return row_tiles(shape.tokens, factors(shape, isa, bits), LEVELS[isa].data, SOFTMAX * shape.tokens)


def build_attention(shape: AttentionShape, isa: str, bits: int, tiles: Tiles | None = None, *, table: bool = False) -> PrimFunc:
    """The kernel for any shape and any width.

    Arguments of the function, in order: qkv [B * T, 3 * heads * head_dim] int8; S [heads] f32; P [256] uint8;
    M, B [heads * head_dim] f32; range [2] f32, or a table [256] int8 of what is stored for a code; bias `bias_shape` int32,
    added to the scores (what its padding holds does not matter); out [B * T, heads * head_dim] int8.

    Args:
        bits: width of the codes of q, k and v (p is an unsigned 8-bit table value at any width).
        tiles: sizes; `attention_tiles` where None.
        table: a table is looked up, at codes of 8 bits.
    """
    channels, rows, level = shape.channels, shape.batch * shape.tokens, LEVELS[isa]
    arguments = [
        ("qkv", (rows, 3 * channels), "int8"),
        ("S", (shape.heads,), "float32"),
        ("P", (256,), "uint8"),
        ("M", (channels,), "float32"),
        ("B", (channels,), "float32"),
        sink_argument(table=table),
        ("bias", bias_shape(shape, isa, bits), "int32"),
        ("out", (rows, channels), "int8"),
    ]
    tiles = tiles or attention_tiles(shape, isa, bits)

    def body(qkv: Any, scale: Any, p: Any, m: Any, b: Any, encode: Any, bias: Any, out: Any) -> None:
        sink, weights = CodeSink.of(level, out, encode, table=table), Table.of(level, p)
        _Attention(shape, isa, tiles, *factors(shape, isa, bits), qkv, scale, weights, m, b, bias, sink).write()

    return function("attention", arguments, body)


@dataclass(frozen=True)
class _Buffers:
    """Panels of q and of p, scores, lanes of their maxima, table values, and what rows are divided by."""

    q: Any
    scores: Any
    tops: Any
    codes: Any
    p: Any
    inverse: Any


@dataclass(frozen=True)
class _Attention:
    """The kernel's builder; the arguments are those of the function, the table is P."""

    shape: AttentionShape
    isa: str
    tiles: Tiles
    keys: Factor
    values: Factor
    qkv: Any
    scale: Any
    table: Table
    m: Any
    b: Any
    bias: Any
    sink: CodeSink

    @property
    def _rows(self) -> int:
        return self.tiles.rows

    @property
    def _parts(self) -> int:
        """Jobs that packing a head's factors is shared out in: runs of whole turns of its channels."""
        return max(1, self.shape.head_dim // BYTES if self.shape.head_dim % BYTES == 0 else 1)

    def write(self) -> None:
        shape, parts, level = self.shape, self._parts, LEVELS[self.isa]
        pairs, tiles = shape.batch * shape.heads, -(-shape.tokens // self._rows)
        packed = [T.sblock_alloc_buffer((pairs, *f.packed), f.dot.weight_dtype) for f in (self.keys, self.values)]
        fixes = [T.sblock_alloc_buffer((pairs, f.padded[0]), "int32") for f in (self.keys, self.values)]
        with hooks(level, pairs * parts), T.parallel(0, pairs * parts) as job:
            pair, part = job // parts, job % parts
            first, column = pair // shape.heads * shape.tokens, pair % shape.heads * shape.head_dim
            self.keys.pack_rows(self.qkv, first, shape.channels + column, packed[0], pair, part, parts)
            self.values.pack_columns(self.qkv, first, 2 * shape.channels + column, packed[1], pair, part, parts)
            for factor, source, fix in zip((self.keys, self.values), packed, fixes, strict=True):
                factor.correct(source, fix, pair, part, parts)
        with each_thread(level, pairs * tiles, *self._own()) as own:
            buffers = _Buffers(*own)
            with T.parallel(0, pairs * tiles) as job:
                token = tirx.min(job % tiles * self._rows, tirx.const(shape.tokens - self._rows, "int32"))
                self._job(job // tiles, token, packed, fixes, buffers)

    def _own(self) -> list[Own]:
        """A thread's own buffers, in the order of `_Buffers`."""
        rows, columns = self._rows, self._softmax.columns
        steps = max(round_up(self.shape.tokens, BYTES) // self.values.dot.group, self.values.packed[1])
        return [
            Own(panel_shape(self.keys.dot, 1, rows, self.keys.packed[1]), self.keys.dot.a_dtype),
            Own((rows, columns), "int32"),
            Own((rows, self.keys.dot.acc_lanes), "int32"),
            Own((rows, round_up(columns, BYTES)), "uint8"),
            Own(panel_shape(self.values.dot, 1, rows, steps), self.values.dot.a_dtype),
            Own((rows,), "float32"),
        ]

    @property
    def _softmax(self) -> Softmax:
        return Softmax(LEVELS[self.isa], self.keys.dot.lanes, self.shape.tokens, self.table)

    def _job(self, pair: Expr, token: Expr, packed: list[Any], fixes: list[Any], own: _Buffers) -> None:
        """One tile of query rows of one head."""
        shape, rows = self.shape, self._rows
        head, first = pair % shape.heads, pair // shape.heads * shape.tokens + token
        lay_out(self.keys.dot, own.q, 0, self.qkv, first, head * shape.head_dim, rows, shape.head_dim, self.keys.excess)

        lanes = self.keys.dot.acc_lanes
        for r in range(rows):
            T.buffer_store(own.tops, T.broadcast(tirx.const(LOWEST, "int32"), lanes), [r, ramp(0, lanes)])

        def score(sums: Sums, column: Expr, columns: int) -> None:
            bias = [pair // shape.heads % shape.groups, head, token] if shape.groups else []
            for r in range(rows):
                self._scores(sums[r], (column, columns), r, bias, own)

        self._multiply(self.keys, own.q, packed[0], fixes[0], pair, score)
        with T.serial(0, rows) as r:
            self._softmax.row(own.scores, own.tops, self.scale[head], own.codes, own.inverse, r)
        lay_out(self.values.dot, own.p, 0, own.codes, 0, 0, rows, round_up(shape.tokens, BYTES), self.values.excess)

        def store(sums: Sums, column: Expr, columns: int) -> None:
            self._store(sums, (column, columns), pair, first, own.inverse)

        self._multiply(self.values, own.p, packed[1], fixes[1], pair, store)

    def _scores(self, sums: list[Expr], columns: tuple[Expr, int], r: int, bias: list[Expr], own: _Buffers) -> None:
        """Keep a row's scores of a register tile, and the largest of those that exist."""
        lanes, (column, count) = self.keys.dot.acc_lanes, columns
        top = own.tops.vload([r, 0], f"int32x{lanes}")
        for i, total in enumerate(sums):
            at = column + i * lanes
            if bias:
                total = total + self.bias.vload([*bias[:2], bias[2] + r, at], f"int32x{lanes}")
            score = T.Bind(total)
            T.buffer_store(own.scores, score, [r, ramp(at, lanes)])
            left = min(count - i * lanes, lanes)
            top = tirx.max(top, score if left == lanes else pick([score], [min(j, left - 1) for j in range(lanes)]))
        T.buffer_store(own.tops, top, [r, ramp(0, lanes)])

    def _multiply(self, factor: Factor, panel: Any, packed: Any, fix: Any, pair: Expr, sink: Sink) -> None:
        """The panel's rows times every column of the factor; sink takes each register tile."""
        sizes = self._rows, min(self.tiles.vectors, factor.packed[0]), self.tiles.unroll
        factor.multiply(panel, packed, fix, pair, sizes, sink)

    def _store(self, sums: Sums, columns: tuple[Expr, int], pair: Expr, first: Expr, inverse: Any) -> None:
        """out = sat(rne(fma(fl(fl(acc) * inverse), M, B))) for a register tile's first and number of channels."""
        shape, lanes, (channel, count) = self.shape, self.values.dot.acc_lanes, columns
        column = pair % shape.heads * shape.head_dim + channel

        def value(acc: Expr, r: int, i: int) -> Expr:
            total = T.Cast(f"float32x{lanes}", acc)
            m, b = (x.vload([column + i * lanes], f"float32x{lanes}") for x in (self.m, self.b))
            return T.fma(total * T.broadcast(inverse[r], lanes), m, b)

        for r, totals in enumerate(sums):
            if count % lanes:
                self._store_lanes(totals, r, (column, count), first, inverse)
                continue
            self.sink.put([value(total, r, i) for i, total in enumerate(totals)], column, lanes, first + r)

    def _store_lanes(self, sums: list[Expr], r: int, columns: tuple[Expr, int], first: Expr, inverse: Any) -> None:
        """A row of a register tile, lane by lane, up to the head's last channel."""
        lanes, (column, count) = self.values.dot.acc_lanes, columns
        with T.sblock("lanes"):
            T.reads()
            T.writes()
            row = T.sblock_alloc_buffer((len(sums) * lanes,), "int32")
            for v, total in enumerate(sums):
                T.buffer_store(row, total, [ramp(v * lanes, lanes)])
            with T.serial(0, count) as lane:
                c = column + lane
                value = T.fma(T.Cast("float32", row[lane]) * inverse[r], self.m[c], self.b[c])
                self.sink.put([value], c, 1, first + r)
