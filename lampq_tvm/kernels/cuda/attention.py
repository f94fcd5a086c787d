"""Softmax attention on int8 codes, fused: scores, softmax and values of some query rows of a head in one block.

    acc = q k^T;  d = rowmax(acc) - acc;  p = P[min(255, rne(fl(d) * S[h]))];  R = sum p
    code = sat(rne(fma(fl(fl(p v) * fl(1 / R)), M[n], B[n])))

Scores live in registers, so no row of them is ever stored; where a row has too many, they are made twice, once for its
maximum and once for p. Warps may share the keys of the same rows; their maxima and sums meet in shared memory then.

Keys lie in shared memory as they come, values turned round ([channel, token]). A score's registers hold columns 2q and 2q + 1
of four tiles of 8; as an operand of the value product they stand for tokens 4q .. 4q + 3 and 16 + 4q .. of 32, so values are
stored in that order of tokens: sums of integers do not mind.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import (
    WARP,
    CudaKernel,
    Threads,
    argument,
    barrier,
    butterfly,
    bytes_of,
    clear,
    copy_words,
    f32,
    i32,
    launch,
    ptx,
    put,
    registers,
    rounded,
    shared,
    u32,
    when,
)
from lampq_tvm.kernels.cuda.epilogue import HALF, CodeRows, packed
from lampq_tvm.kernels.cuda.mma import COLUMNS, ROWS, STEP, Mma
from lampq_tvm.kernels.cuda.operand import row_words
from lampq_tvm.kernels.cuda.tiles import PAD
from lampq_tvm.kernels.shapes import round_up

GROUP = 32  # tokens of a step of both products
HELD = 4  # groups whose scores lie in registers at most; with more they are made twice
SMALL = 512  # blocks of 16 rows that a chip takes at once or nearly
MOST_TURNS = 8  # of a loop that is unrolled
LARGEST_HEAD = 255  # channels of a head whose scores differ by less than 2^23
LOWEST = -(1 << 31)
ENTRIES = 256  # of P


@dataclass(frozen=True)
class CudaAttentionShape:
    """What an attention kernel is built for.

    Attributes:
        images: or windows.
        tokens, heads: of an image.
        head_dim: channels of a head.
        row_warps: warps of a block that take 16 query rows each.
        key_warps: warps that share the keys of the same rows.
    """

    images: int
    tokens: int
    heads: int
    head_dim: int
    row_warps: int = 4
    key_warps: int = 1

    @property
    def warps(self) -> int:
        """Warps of a block."""
        return self.row_warps * self.key_warps

    @property
    def rows(self) -> int:
        """Query rows of a block."""
        return ROWS * self.row_warps

    @property
    def grid(self) -> tuple[int, int, int]:
        """Blocks: of query rows, heads, images."""
        return -(-self.tokens // self.rows), self.heads, self.images


def with_warps(shape: CudaAttentionShape) -> CudaAttentionShape:
    """Warps for any shape, as timed on an H200: small blocks where there are few rows, else those that share keys most."""
    groups, rows = -(-shape.tokens // GROUP), -(-shape.tokens // ROWS)
    blocks = shape.images * shape.heads * rows
    if blocks <= SMALL:
        return dataclasses.replace(shape, row_warps=1, key_warps=min(4, groups))
    if blocks <= 4 * SMALL:
        return dataclasses.replace(shape, row_warps=min(2, rows), key_warps=min(2, groups))
    return dataclasses.replace(shape, row_warps=min(8, rows), key_warps=1)


def load_queries(qkv: Any, shape: CudaAttentionShape, head_words: int, first_token: Expr, row: Expr, threads: Threads) -> Any:
    """A warp's 16 query rows from `row` on in the registers' order of `mma.Mma`; zeros beyond the head's words.

    Args:
        head_words: words of a head's channels in a row of qkv.
    """
    lane, steps = threads.lane, -(-head_words // STEP)
    q = registers(steps * 4)
    for i in range(steps * 4):
        token = tirx.min(row + lane // 4 + i % 2 * 8, i32(shape.tokens - 1))
        word = i // 4 * STEP + i % 4 // 2 * 4 + lane % 4
        put(q, i, u32(0))
        with when(word < head_words if head_words % STEP else None):
            put(q, i, qkv[first_token + token, threads.block[1] * head_words + word])
    return q


def build_attention(shape: CudaAttentionShape, mma: Mma, *, out_bits: int = 8, name: str = "attention") -> CudaKernel:
    """The kernel, for heads of a multiple of 4 channels.

    Buffers: qkv [images * tokens, words] uint32 in rows of whole 16 bytes; S [heads] f32; P [256] uint8; M, B [channels] f32;
    range [2] f32 (not to float16 values); out, codes [images * tokens, channels] packed as `epilogue.CodeRows`.
    """
    return _Attention(shape, mma, out_bits, name).build()


@dataclass(frozen=True)
class _Buffers:
    """The kernel's buffers."""

    qkv: Any
    S: Any
    P: Any
    M: Any
    B: Any
    bounds: Any
    out: Any


@dataclass(frozen=True)
class _Attention:
    """One kernel's builder."""

    shape: CudaAttentionShape
    mma: Mma
    out_bits: int
    name: str

    def build(self) -> CudaKernel:
        s = self.shape
        rows, channels = s.images * s.tokens, s.heads * s.head_dim
        with IRBuilder() as builder:
            with T.prim_func(s_tir=True):
                T.func_name(self.name)
                T.func_attr({"global_symbol": self.name, "tirx.noalias": True})
                qkv = argument("qkv", (rows, row_words(3 * channels, 8)), "uint32")
                S, P = argument("S", (s.heads,), "float32"), argument("P", (ENTRIES,), "uint8")
                M, B = (argument(letter, (channels,), "float32") for letter in "MB")
                bounds = argument("range", (2,), "float32") if self.out_bits < HALF else None
                out = CodeRows.declare("out", rows, channels, self.out_bits, piece(s.head_dim, self._columns))
                with launch(s.grid, s.warps) as threads:
                    self._block(_Buffers(qkv, S, P, M, B, bounds, out), threads)
            func = builder.get()
        return CudaKernel(func, s.grid, (WARP, s.warps, 1), 4 * self._memory_words)

    @property
    def _head_words(self) -> int:
        return self.shape.head_dim // 4

    @property
    def _padded(self) -> int:
        return round_up(self.shape.tokens, GROUP)

    @property
    def _groups(self) -> int:
        """Groups of keys of a warp, of which the last warps may have one less."""
        return -(-self._padded // GROUP // self.shape.key_warps)

    @property
    def _held(self) -> bool:
        """Whether a warp's scores lie in registers from the first product to the second."""
        return self._groups <= HELD

    @property
    def _k_words(self) -> int:
        return round_up(self._head_words, STEP)

    @property
    def _k_pitch(self) -> int:
        return self._k_words + PAD

    @property
    def _columns(self) -> int:
        """Channels of a head, filled up to what is loaded at a time."""
        return round_up(self.shape.head_dim, self.mma.columns)

    @property
    def _v_pitch(self) -> int:
        return self._padded // 4 + PAD

    @property
    def _v_first(self) -> int:
        return self._padded * self._k_pitch

    @property
    def _p_first(self) -> int:
        return self._v_first + self._columns * self._v_pitch

    @property
    def _peaks_first(self) -> int:
        return self._p_first + ENTRIES

    @property
    def _memory_words(self) -> int:
        s = self.shape
        if s.key_warps == 1:
            return self._peaks_first
        return max(self._peaks_first + s.key_warps * s.rows, s.warps * self._sums * WARP)

    @property
    def _sums(self) -> int:
        """Registers that a warp hands to the others: sums of values and, of its two rows, of p."""
        return self._columns // COLUMNS * 4 + 2

    def _block(self, b: _Buffers, threads: Threads) -> None:
        """Some query rows of a head."""
        memory = shared(self._memory_words)
        first_token = threads.block[2] * self.shape.tokens
        self._clear(memory, threads)
        self._load_keys(b.qkv, memory, first_token, threads)
        self._load_values(b.qkv, memory, first_token, threads)
        for first in range(0, ENTRIES, threads.count):
            entry = threads.index + first
            with when(None if first + threads.count <= ENTRIES else entry < ENTRIES):
                put(memory, self._p_first + entry, T.Cast("uint32", b.P[entry]))
        row = threads.block[0] * self.shape.rows + threads.warp % self.shape.row_warps * ROWS
        q = load_queries(b.qkv, self.shape, self._head_words, first_token, row, threads)
        if self.mma.asynchronous:
            ptx("cp.async.wait_all")
        barrier()
        self._rows(b, memory, q, first_token, row, threads)

    def _clear(self, memory: Any, threads: Threads) -> None:
        """Zeros where a head of odd size leaves gaps: words beyond its keys, channels beyond its values."""
        gap = self._k_words - self._head_words
        if gap:
            clear(memory, self._padded * gap, lambda i: i // gap * self._k_pitch + self._head_words + i % gap, threads)
        if self._columns > self.shape.head_dim:
            first, count = self.shape.head_dim, self._columns - self.shape.head_dim
            lines = [self._line(i32(first) + i) for i in range(count)]
            for line in lines:
                clear(memory, self._v_pitch, lambda i, at=line: self._v_first + at * self._v_pitch + i, threads)  # type: ignore[misc]

    def _line(self, channel: Expr) -> Expr:
        """Where a channel's values lie among the columns of the second product: `mma.neighbours` turned round."""
        inside = channel % (self._columns // 4)
        return inside // 2 * COLUMNS + channel // (self._columns // 4) * 2 + inside % 2

    def _load_keys(self, qkv: Any, memory: Any, first_token: Expr, threads: Threads) -> None:
        """Keys [token, channel] as they come; tokens beyond the last repeat it."""
        s = self.shape
        size = next(words for words in (4, 2, 1) if self._head_words % words == 0)
        across = self._head_words // size
        column = (s.heads + threads.block[1]) * self._head_words
        total = self._padded * across
        for first in range(0, total, threads.count):
            chunk = threads.index + first
            with when(None if first + threads.count <= total else chunk < total):
                token = first_token + tirx.min(chunk // across, i32(s.tokens - 1))
                target = chunk // across * self._k_pitch + chunk % across * size
                copy_words(memory, target, qkv, token, column + chunk % across * size, size, self.mma.asynchronous)

    def _load_values(self, qkv: Any, memory: Any, first_token: Expr, threads: Threads) -> None:
        """Values [channel, token] in the order of tokens that the scores have: four tokens by four channels a time."""
        s = self.shape
        column = (2 * s.heads + threads.block[1]) * self._head_words
        total = self._padded // 4 * self._head_words
        turns = -(-total // threads.count)
        v, turned = registers(4), registers(4)
        with (T.unroll if turns <= MOST_TURNS else T.serial)(0, turns) as turn:
            item = turn * threads.count + threads.index
            with when(None if total % threads.count == 0 else item < total):
                slot, word = self._value_item(item)
                token = slot // 8 * GROUP + slot % 8 // 4 * 16 + slot % 4 * 2
                for i, step in enumerate((0, 1, 8, 9)):
                    put(v, i, qkv[first_token + tirx.min(token + step, i32(s.tokens - 1)), column + word])
                transpose_bytes(v, turned)
                for i in range(4):
                    put(memory, self._v_first + self._line(word * 4 + i) * self._v_pitch + slot, turned[i])

    def _value_item(self, item: Expr) -> tuple[Expr, Expr]:
        """(four tokens, word of channels) of an item; a warp's 32 are spread so that they lie in different banks."""
        words = self._head_words
        if words % 4:
            return item // words, item % words
        block = item // WARP
        return block // (words // 4) * 8 + item // 4 % 8, item % 4 * (words // 4) + block % (words // 4)

    def _rows(self, b: _Buffers, memory: Any, q: Any, first_token: Expr, row: Expr, threads: Threads) -> None:
        """A warp's 16 query rows, and its share of the keys."""
        lane = threads.lane
        active = row < self.shape.tokens if self.shape.row_warps > 1 else None
        part = threads.warp // self.shape.row_warps
        peak, total = registers(2, "int32"), registers(2)
        for half in range(2):
            put(peak, half, i32(LOWEST))
            put(total, half, u32(0))
        out = registers(self._columns // COLUMNS * 4)
        for i in range(self._columns // COLUMNS * 4):
            put(out, i, u32(0))
        acc = [registers(16) for _ in range(self._groups if self._held else 1)]
        keys, p = registers(4), registers(4)
        with when(active):
            for group, scores in self._shares(acc, part):
                self._scores(memory, scores, q, keys, group, lane)
                for i in range(16):
                    score = T.Select(self._column(group, i, lane) < self.shape.tokens, _signed(scores[i]), i32(LOWEST))
                    put(peak, i % 4 // 2, T.max(peak[i % 4 // 2], score))
            for half in range(2):
                for distance in (1, 2):
                    put(peak, half, T.max(peak[half], butterfly(peak[half], distance)))
        if self.shape.key_warps > 1:
            self._highest(memory, peak, threads)
        scale = b.S[threads.block[1]]
        with when(active):
            for group, scores in self._shares(acc, part):
                if not self._held:
                    self._scores(memory, scores, q, keys, group, lane)
                for i in range(16):
                    weight = self._weight(memory, scores[i], peak[i % 4 // 2], scale, self._column(group, i, lane))
                    put(scores, i, weight)
                self._values(memory, out, total, scores, p, keys, group, lane)
        for half in range(2):
            for distance in (1, 2):
                put(total, half, total[half] + butterfly(total[half], distance))
        if self.shape.key_warps > 1:
            self._exchange(memory, out, total, threads)
        self._write(b, memory, out, total, first_token, row, threads)

    def _shares(self, acc: list[Any], part: Expr) -> Iterator[tuple[Expr, Any]]:
        """(group of keys, its scores' registers) of a warp."""
        whole, each = self._padded // GROUP, self.shape.key_warps
        if not self._held:
            with T.serial(0, self._groups) as turn, when(None if whole % each == 0 else turn * each + part < whole):
                yield turn * each + part, acc[0]
            return
        for turn in range(self._groups):
            with when(None if (turn + 1) * each <= whole else part + turn * each < whole):
                yield part + turn * each, acc[turn]

    def _highest(self, memory: Any, peak: Any, threads: Threads) -> None:
        """peak = the highest of all warps that share the rows."""
        s, lane = self.shape, threads.lane
        part, first = threads.warp // s.row_warps, threads.warp % s.row_warps * ROWS + lane // 4
        for half in range(2):
            with when(lane % 4 == 0):
                place = self._peaks_first + part * s.rows + first + half * 8
                put(memory, place, T.reinterpret(peak[half], dtype="uint32"))
        barrier()
        for half in range(2):
            for other in range(s.key_warps):
                place = self._peaks_first + other * s.rows + first + half * 8
                put(peak, half, T.max(peak[half], _signed(memory[place])))

    def _exchange(self, memory: Any, out: Any, total: Any, threads: Threads) -> None:
        """total = the sums over all warps that share the rows; those of `out` wait in shared memory for `_collect`."""
        s, sums = self.shape, self._sums
        barrier()  # keys and values were read for the last time
        mine = (threads.warp % s.row_warps * s.key_warps + threads.warp // s.row_warps) * sums * WARP + threads.lane
        for i in range(sums):
            put(memory, mine + i * WARP, out[i] if i < sums - 2 else total[i - sums + 2])
        barrier()
        for half in range(2):
            put(total, half, u32(0))
            for other in range(s.key_warps):
                put(total, half, total[half] + memory[self._shared_sum(threads, other, sums - 2 + half)])

    def _shared_sum(self, threads: Threads, part: int, i: int) -> Expr:
        """Where sum i of a warp that shares the rows lies."""
        s = self.shape
        return ((threads.warp % s.row_warps * s.key_warps + part) * self._sums + i) * WARP + threads.lane

    def _write(self, b: _Buffers, memory: Any, out: Any, total: Any, first_token: Expr, row: Expr, threads: Threads) -> None:
        """Codes of a warp's rows, or of its share of them."""
        s, lane = self.shape, threads.lane
        inverse, bounds = registers(2, "float32"), registers(2, "float32")
        for half in range(2):
            put(inverse, half, f32(1) / T.Cast("float32", _signed(total[half])))
            if b.bounds is not None:
                put(bounds, half, b.bounds[half])
        size, per = b.out.size, self._columns // 4
        pieces = [(first, half) for half in range(2) for first in range(0, per, size)]
        for which in range(min(s.key_warps, len(pieces))):
            with when(threads.warp // s.row_warps == which if s.key_warps > 1 else None):
                for first, half in pieces[which :: s.key_warps]:
                    places = [4 * (c // 2) + 2 * half + c % 2 for c in range(first, first + size)]
                    if s.key_warps > 1:
                        self._collect(memory, out, places, threads)
                    channel, token = lane % 4 * per + first, row + half * 8 + lane // 4
                    with when(T.And(token < s.tokens, written(s, self.out_bits, channel, threads.block[1]))):
                        n = threads.block[1] * s.head_dim + channel
                        self._piece(b, [out[place] for place in places], inverse[half], bounds, first_token + token, n)

    def _collect(self, memory: Any, out: Any, places: list[int], threads: Threads) -> None:
        """The sums over all warps that share the rows, of some registers of `out`."""
        for place in places:
            put(out, place, u32(0))
            for other in range(self.shape.key_warps):
                put(out, place, out[place] + memory[self._shared_sum(threads, other, place)])

    def _piece(self, b: _Buffers, sums: list[Expr], inverse: Expr, bounds: Any, row: Expr, n: Expr) -> None:
        """Neighbours of a row."""
        last = i32(self.shape.heads * self.shape.head_dim - 1)
        at = [tirx.min(n + i, last) if self.out_bits == HALF else n + i for i in range(len(sums))]
        scaled = [T.Cast("float32", _signed(x)) * inverse for x in sums]
        values = [T.fma(x, b.M[at[i]], b.B[at[i]]) for i, x in enumerate(scaled)]
        b.out.put(row, n, packed(values, bounds, self.out_bits))

    def _values(self, memory: Any, out: Any, total: Any, weights: Any, p: Any, values: Any, group: Expr, lane: Expr) -> None:
        """out += p v of 16 rows and 32 tokens, total += the sum of p."""
        for i in range(4):  # rows g and g + 8 of the tiles 0 and 1, then of 2 and 3
            first = 8 * (i // 2) + 2 * (i % 2)
            put(p, i, bytes_of([weights[first], weights[first + 1], weights[first + 4], weights[first + 5]]))
            ptx("dp4a.u32.u32", total[i % 2], p[i], u32(0x01010101), total[i % 2])
        for j in range(0, self._columns // COLUMNS, 2):
            word = self._v_first + j * COLUMNS * self._v_pitch + group * STEP
            self.mma.load_b(values, 0, memory, word, self._v_pitch, lane)
            for x in range(2):
                self.mma.multiply(out, 4 * (j + x), p, 0, values, 2 * x, lane, unsigned=True)

    def _scores(self, memory: Any, acc: Any, q: Any, keys: Any, group: Expr, lane: Expr) -> None:
        """acc = scores of 16 rows and 32 tokens."""
        for i in range(16):
            put(acc, i, u32(0))
        for step in range(self._k_words // STEP):
            for j in range(0, GROUP // COLUMNS, 2):
                word = (group * GROUP + j * COLUMNS) * self._k_pitch + step * STEP
                self.mma.load_b(keys, 0, memory, word, self._k_pitch, lane)
                for x in range(2):
                    self.mma.multiply(acc, 4 * (j + x), q, 4 * step, keys, 2 * x, lane)

    def _column(self, group: Expr, i: int, lane: Expr) -> Expr:
        """Token of a score's register."""
        return group * GROUP + i // 4 * COLUMNS + lane % 4 * 2 + i % 2

    def _weight(self, memory: Any, score: Expr, peak: Expr, scale: Expr, column: Expr) -> Expr:
        """p of a score; 0 for a token beyond the last."""
        distance = peak - _signed(score)
        exact = self.shape.head_dim <= LARGEST_HEAD
        found = _float_below(distance) if exact else T.Cast("float32", distance)
        entry = T.bitwise_and(rounded(T.min(found * scale, f32(ENTRIES - 1))), u32(ENTRIES - 1))
        weight = memory[self._p_first + T.Cast("int32", entry)]
        return T.Select(column < self.shape.tokens, weight, u32(0))


def piece(head_dim: int, columns: int) -> int:
    """Neighbours that are written at a time: a part of a head and of a lane's share of its `columns`."""
    return next(size for size in (8, 4) if head_dim % size == 0 and columns // 4 % size == 0)


def written(shape: CudaAttentionShape, out_bits: int, channel: Expr, head: Expr) -> Expr:
    """Whether a head writes a channel: its own, and the last one the row's end, which must be finite in float16."""
    if out_bits < HALF:
        return channel < shape.head_dim
    row = head * shape.head_dim + channel
    last = T.And(head == shape.heads - 1, row < round_up(shape.heads * shape.head_dim, 8))
    return T.Or(channel < shape.head_dim, last)


def _signed(word: Expr) -> Expr:
    return T.reinterpret(word, dtype="int32")


def _float_below(value: Expr) -> Expr:
    """An integer of 0 .. 2^23 - 1 as float32, by an addition: a conversion takes a slower unit."""
    return T.reinterpret(T.bitwise_or(T.reinterpret(value, dtype="uint32"), u32(0x4B000000)), dtype="float32") - f32(1 << 23)


def transpose_bytes(rows: Any, columns: Any) -> None:
    """columns[i] = byte i of rows[0..3]; `prmt` picks bytes, 0..3 from its first word and 4..7 from its second."""
    half = registers(4)
    for i, pick in enumerate((0x5140, 0x7362)):
        ptx("prmt.b32", half[2 * i], rows[0], rows[1], u32(pick))
        ptx("prmt.b32", half[2 * i + 1], rows[2], rows[3], u32(pick))
    for i in range(4):
        ptx("prmt.b32", columns[i], half[i // 2 * 2], half[i // 2 * 2 + 1], u32((0x5410, 0x7632)[i % 2]))
