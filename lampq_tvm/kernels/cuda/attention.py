"""Softmax attention on int8 codes, fused: scores, softmax and values of some query rows of a head in one block.

    acc = q k^T;  d = rowmax(acc) - acc;  p = P[min(255, rne(fl(d) * S[h]))];  R = sum p
    code = sat(rne(fma(fl(fl(p v) * fl(1 / R)), M[n], B[n])))

Scores live in registers, so no row of them is ever stored; where a row has too many, they are made twice, once for its
maximum and once for p. Warps may share the keys of the same rows; their maxima and sums meet in shared memory then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.attention_operands import ENTRIES, HeadMemory
from lampq_tvm.kernels.cuda.attention_shape import (
    GROUP,
    Biases,
    CudaAttentionShape,
    bias_arguments,
    biases_of,
    key_of,
    load_queries,
    piece,
    written,
)
from lampq_tvm.kernels.cuda.emit import (
    WARP,
    CudaKernel,
    Threads,
    argument,
    as_type,
    barrier,
    butterfly,
    bytes_of,
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
from lampq_tvm.kernels.cuda.mma import COLUMNS, ROWS, STEP, Mma
from lampq_tvm.kernels.cuda.operand import row_words
from lampq_tvm.kernels.cuda.sink import CodeRows, CodeSink
from lampq_tvm.kinds import Kind

HELD = 4  # groups whose scores lie in registers at most; with more they are made twice
LARGEST_HEAD = 255  # channels of a head whose scores differ by less than 2^23
LOWEST = -(1 << 31)


def build_attention(
    shape: CudaAttentionShape, mma: Mma, *, out: Kind = Kind.INT8, table: bool = False, name: str = "attention"
) -> CudaKernel:
    """The kernel, for heads of a multiple of 4 channels.

    Buffers: qkv [images * tokens, words] uint32 in rows of whole 16 bytes; S [heads] f32; P [256] uint8; M, B [channels] f32;
    range [2] f32 (not to float16 values) or table; with groups, bias int32 and pattern as `bias_arguments`; out, codes
    [images * tokens, channels] packed as `sink.CodeRows`.
    """
    return _Attention(shape, mma, out, table, name).build()


def attention_shared_bytes(shape: CudaAttentionShape, mma: Mma) -> int:
    """Bytes of shared memory of a block."""
    return 4 * _Attention(shape, mma, Kind.INT8, False, "").memory_words


def scores_made(shape: CudaAttentionShape, mma: Mma) -> int:
    """How often each score is made."""
    return 1 if _Attention(shape, mma, Kind.INT8, False, "").held else 2


@dataclass(frozen=True)
class _Buffers:
    """The kernel's buffers."""

    qkv: Any
    S: Any
    P: Any
    M: Any
    B: Any
    sink: CodeSink
    bias: Any
    pattern: Any
    out: Any


@dataclass(frozen=True)
class _Attention:
    """One kernel's builder."""

    shape: CudaAttentionShape
    mma: Mma
    out: Kind
    table: bool
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
                sink = CodeSink.declare(self.out, table=self.table)
                bias, pattern = bias_arguments(s, "int32")
                out = CodeRows.declare("out", rows, channels, self.out, piece(s.head_dim, self._head.columns))
                with launch(s.grid, s.warps) as threads:
                    self._block(_Buffers(qkv, S, P, M, B, sink, bias, pattern, out), threads)
            func = builder.get()
        return CudaKernel(func, s.grid, (WARP, s.warps, 1), 4 * self.memory_words)

    @property
    def _head(self) -> HeadMemory:
        """Keys and values in shared memory."""
        return HeadMemory(self.shape, self.mma)

    @property
    def _groups(self) -> int:
        """Groups of keys of a warp, of which the last warps may have one less."""
        return -(-self._head.padded // GROUP // self.shape.key_warps)

    @property
    def held(self) -> bool:
        """Whether a warp's scores lie in registers from the first product to the second."""
        return self._groups <= HELD

    @property
    def _peaks_first(self) -> int:
        return self._head.end

    @property
    def memory_words(self) -> int:
        """Of a block's shared memory."""
        s = self.shape
        if s.key_warps == 1:
            return self._peaks_first
        return max(self._peaks_first + s.key_warps * s.rows, s.warps * self._sums * WARP)

    @property
    def _sums(self) -> int:
        """Registers that a warp hands to the others: sums of values and, of its two rows, of p."""
        return self._head.columns // COLUMNS * 4 + 2

    def _block(self, b: _Buffers, threads: Threads) -> None:
        """Some query rows of a head."""
        memory = shared(self.memory_words)
        first_token = threads.block[2] * self.shape.tokens
        self._head.load(b.qkv, b.P, memory, first_token, threads)
        row = threads.block[0] * self.shape.rows + threads.warp % self.shape.row_warps * ROWS
        q = load_queries(b.qkv, self.shape, self._head.head_words, first_token, row, threads)
        if self.mma.asynchronous:
            ptx("cp.async.wait_all")
        barrier()
        self._rows(b, memory, q, first_token, row, threads)

    def _rows(self, b: _Buffers, memory: Any, q: Any, first_token: Expr, row: Expr, threads: Threads) -> None:
        """A warp's 16 query rows, and its share of the keys."""
        lane = threads.lane
        active = row < self.shape.tokens if self.shape.row_warps > 1 else None
        part = threads.warp // self.shape.row_warps
        peak, total = registers(2, "int32"), registers(2)
        biases = biases_of(b.bias, b.pattern, self.shape, row, threads)
        for half in range(2):
            put(peak, half, i32(LOWEST))
            put(total, half, u32(0))
        out = registers(self._head.columns // COLUMNS * 4)
        for i in range(self._head.columns // COLUMNS * 4):
            put(out, i, u32(0))
        acc = [registers(16) for _ in range(self._groups if self.held else 1)]
        keys, p = registers(4), registers(4)
        with when(active):
            for group, scores in self._shares(acc, part):
                self._scores(memory, scores, q, keys, biases, group, lane)
                for i in range(16):
                    score = T.Select(key_of(group * GROUP, i, lane) < self.shape.tokens, _signed(scores[i]), i32(LOWEST))
                    put(peak, i % 4 // 2, T.max(peak[i % 4 // 2], score))
            for half in range(2):
                for distance in (1, 2):
                    put(peak, half, T.max(peak[half], butterfly(peak[half], distance)))
        if self.shape.key_warps > 1:
            self._highest(memory, peak, threads)
        scale = b.S[threads.block[1]]
        with when(active):
            for group, scores in self._shares(acc, part):
                if not self.held:
                    self._scores(memory, scores, q, keys, biases, group, lane)
                for i in range(16):
                    weight = self._weight(memory, scores[i], peak[i % 4 // 2], scale, key_of(group * GROUP, i, lane))
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
        whole, each = self._head.padded // GROUP, self.shape.key_warps
        if not self.held:
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
        inverse, sink = registers(2, "float32"), b.sink.held()
        for half in range(2):
            put(inverse, half, f32(1) / T.Cast("float32", _signed(total[half])))
        size, per = b.out.size, self._head.columns // 4
        pieces = [(first, half) for half in range(2) for first in range(0, per, size)]
        for which in range(min(s.key_warps, len(pieces))):
            with when(threads.warp // s.row_warps == which if s.key_warps > 1 else None):
                for first, half in pieces[which :: s.key_warps]:
                    places = [4 * (c // 2) + 2 * half + c % 2 for c in range(first, first + size)]
                    if s.key_warps > 1:
                        self._collect(memory, out, places, threads)
                    channel, token = lane % 4 * per + first, row + half * 8 + lane // 4
                    with when(T.And(token < s.tokens, written(s, self.out, channel, threads.block[1]))):
                        n = threads.block[1] * s.head_dim + channel
                        self._piece(b, [out[place] for place in places], inverse[half], sink, first_token + token, n)

    def _collect(self, memory: Any, out: Any, places: list[int], threads: Threads) -> None:
        """The sums over all warps that share the rows, of some registers of `out`."""
        for place in places:
            put(out, place, u32(0))
            for other in range(self.shape.key_warps):
                put(out, place, out[place] + memory[self._shared_sum(threads, other, place)])

    def _piece(self, b: _Buffers, sums: list[Expr], inverse: Expr, sink: CodeSink, row: Expr, n: Expr) -> None:
        """Neighbours of a row."""
        last = i32(self.shape.heads * self.shape.head_dim - 1)
        at = [tirx.min(n + i, last) if self.out.is_float else n + i for i in range(len(sums))]
        scaled = [T.Cast("float32", _signed(x)) * inverse for x in sums]
        values = [T.fma(x, b.M[at[i]], b.B[at[i]]) for i, x in enumerate(scaled)]
        b.out.put(row, n, sink.packed(values))

    def _values(self, memory: Any, out: Any, total: Any, weights: Any, p: Any, values: Any, group: Expr, lane: Expr) -> None:
        """out += p v of 16 rows and 32 tokens, total += the sum of p."""
        for i in range(4):  # rows g and g + 8 of the tiles 0 and 1, then of 2 and 3
            first = 8 * (i // 2) + 2 * (i % 2)
            put(p, i, bytes_of([weights[first], weights[first + 1], weights[first + 4], weights[first + 5]]))
            ptx("dp4a.u32.u32", total[i % 2], p[i], u32(0x01010101), total[i % 2])
        for j in range(0, self._head.columns // COLUMNS, 2):
            word = self._head.v_first + j * COLUMNS * self._head.v_pitch + group * STEP
            self.mma.load_b(values, 0, memory, word, self._head.v_pitch, lane)
            for x in range(2):
                self.mma.multiply(out, 4 * (j + x), p, 0, values, 2 * x, lane, unsigned=True)

    def _scores(self, memory: Any, acc: Any, q: Any, keys: Any, biases: Biases | None, group: Expr, lane: Expr) -> None:
        """acc = scores of 16 rows and 32 tokens."""
        for i in range(16):
            put(acc, i, u32(0) if biases is None else as_type(biases(group * GROUP, i), "uint32"))
        for step in range(self._head.k_words // STEP):
            for j in range(0, GROUP // COLUMNS, 2):
                word = (group * GROUP + j * COLUMNS) * self._head.k_pitch + step * STEP
                self.mma.load_b(keys, 0, memory, word, self._head.k_pitch, lane)
                for x in range(2):
                    self.mma.multiply(acc, 4 * (j + x), q, 4 * step, keys, 2 * x, lane)

    def _weight(self, memory: Any, score: Expr, peak: Expr, scale: Expr, column: Expr) -> Expr:
        """p of a score; 0 for a token beyond the last."""
        distance = peak - _signed(score)
        exact = self.shape.head_dim <= LARGEST_HEAD and not self.shape.groups
        found = _float_below(distance) if exact else T.Cast("float32", distance)
        entry = T.bitwise_and(rounded(T.min(found * scale, f32(ENTRIES - 1))), u32(ENTRIES - 1))
        weight = memory[self._head.p_first + T.Cast("int32", entry)]
        return T.Select(column < self.shape.tokens, weight, u32(0))


def _signed(word: Expr) -> Expr:
    return T.reinterpret(word, dtype="int32")


def _float_below(value: Expr) -> Expr:
    """An integer of 0 .. 2^23 - 1 as float32, by an addition: a conversion takes a slower unit."""
    return T.reinterpret(T.bitwise_or(T.reinterpret(value, dtype="uint32"), u32(0x4B000000)), dtype="float32") - f32(1 << 23)
