"""Softmax attention on int8 codes, fused: scores, softmax and values of some query rows of a head in one block.

    acc = q k^T;  d = rowmax(acc) - acc;  p = P[min(255, rne(fl(d) * S[h]))];  R = sum p
    code = sat(rne(fma(fl(fl(p v) * fl(1 / R)), M[n], B[n])))

Scores live in registers and are made twice, once for the row's maximum and once for p, so no row of them is ever stored.
Keys lie in shared memory as they come, values turned round ([channel, token]). A score's registers hold columns 2q and
2q + 1 of four tiles of 8; as an operand of the value product they stand for tokens 4q .. 4q + 3 and 16 + 4q .. of 32, so values
are stored in that order of tokens: sums of integers do not mind.
"""

from __future__ import annotations

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
    clear,
    copy_words,
    f32,
    i32,
    launch,
    ptx,
    put,
    registers,
    shared,
    u32,
    when,
)
from lampq_tvm.kernels.cuda.epilogue import HALF, code_matrix, packed_pair
from lampq_tvm.kernels.cuda.mma import COLUMNS, ROWS, STEP, Mma
from lampq_tvm.kernels.cuda.operand import row_words
from lampq_tvm.kernels.cuda.tiles import PAD
from lampq_tvm.kernels.shapes import round_up

GROUP = 32  # tokens of a step of both products
LOWEST = -(1 << 31)
ENTRIES = 256  # of P


@dataclass(frozen=True)
class CudaAttentionShape:
    """What an attention kernel is built for: images (or windows), tokens, heads, channels of a head, warps of a block."""

    images: int
    tokens: int
    heads: int
    head_dim: int
    warps: int = 4


def load_queries(
    qkv: Any, shape: CudaAttentionShape, head_words: int, first_token: Expr, row: Expr, threads: Threads
) -> Any:
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
    range [2] f32 (not to float16 values); out, codes [images * tokens, channels] packed as `epilogue.code_matrix` has them.
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
        grid = (-(-s.tokens // (ROWS * s.warps)), s.heads, s.images)
        with IRBuilder() as builder:
            with T.prim_func(s_tir=True):
                T.func_name(self.name)
                T.func_attr({"global_symbol": self.name, "tirx.noalias": True})
                qkv = argument("qkv", (rows, row_words(3 * channels, 8)), "uint32")
                S, P = argument("S", (s.heads,), "float32"), argument("P", (ENTRIES,), "uint8")
                M, B = (argument(letter, (channels,), "float32") for letter in "MB")
                bounds = argument("range", (2,), "float32") if self.out_bits < HALF else None
                out = code_matrix("out", rows, channels, self.out_bits)
                with launch(grid, s.warps) as threads:
                    self._block(_Buffers(qkv, S, P, M, B, bounds, out), threads)
            func = builder.get()
        return CudaKernel(func, grid, (WARP, s.warps, 1), 4 * self._memory_words)

    @property
    def _head_words(self) -> int:
        return self.shape.head_dim // 4

    @property
    def _padded(self) -> int:
        return round_up(self.shape.tokens, GROUP)

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
    def _memory_words(self) -> int:
        return self._p_first + ENTRIES

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
        if self.mma.asynchronous:
            ptx("cp.async.wait_all")
        barrier()
        row = threads.block[0] * (ROWS * threads.warps) + threads.warp * ROWS
        with when(row < self.shape.tokens):
            self._rows(b, memory, first_token, row, threads)

    def _clear(self, memory: Any, threads: Threads) -> None:
        """Zeros where a head of odd size leaves gaps: words beyond its keys, channels beyond its values."""
        gap = self._k_words - self._head_words
        if gap:
            clear(memory, self._padded * gap, lambda i: i // gap * self._k_pitch + self._head_words + i % gap, threads)
        first = self._v_first + self.shape.head_dim * self._v_pitch
        if self._p_first > first:
            clear(memory, self._p_first - first, lambda i: first + i, threads)

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
        v, turned = registers(4), registers(4)
        with T.serial(0, -(-total // threads.count)) as turn:
            item = turn * threads.count + threads.index
            with when(None if total % threads.count == 0 else item < total):
                slot, word = item // self._head_words, item % self._head_words
                token = slot // 8 * GROUP + slot % 8 // 4 * 16 + slot % 4 * 2
                for i, step in enumerate((0, 1, 8, 9)):
                    put(v, i, qkv[first_token + tirx.min(token + step, i32(s.tokens - 1)), column + word])
                transpose_bytes(v, turned)
                for i in range(4):
                    put(memory, self._v_first + (word * 4 + i) * self._v_pitch + slot, turned[i])

    def _rows(self, b: _Buffers, memory: Any, first_token: Expr, row: Expr, threads: Threads) -> None:
        """A warp's 16 query rows."""
        s, lane, head = self.shape, threads.lane, threads.block[1]
        q = load_queries(b.qkv, s, self._head_words, first_token, row, threads)
        peak, total = registers(2, "int32"), registers(2)
        for half in range(2):
            put(peak, half, i32(LOWEST))
            put(total, half, u32(0))
        acc, keys = registers(16), registers(4)
        with T.serial(0, self._padded // GROUP) as group:
            self._scores(memory, acc, q, keys, group, lane)
            for i in range(16):
                score = T.Select(self._column(group, i, lane) < s.tokens, _signed(acc[i]), i32(LOWEST))
                put(peak, i % 4 // 2, T.max(peak[i % 4 // 2], score))
        for half in range(2):
            for distance in (1, 2):
                put(peak, half, T.max(peak[half], butterfly(peak[half], distance)))
        out = registers(self._columns // COLUMNS * 4)
        for i in range(self._columns // COLUMNS * 4):
            put(out, i, u32(0))
        p, scale = registers(4), b.S[head]
        with T.serial(0, self._padded // GROUP) as group:
            self._scores(memory, acc, q, keys, group, lane)
            for i in range(16):
                put(acc, i, self._weight(memory, acc[i], peak[i % 4 // 2], scale, self._column(group, i, lane)))
            for i in range(4):  # rows g and g + 8 of the tiles 0 and 1, then of 2 and 3
                first = 8 * (i // 2) + 2 * (i % 2)
                put(p, i, pack_bytes([acc[first], acc[first + 1], acc[first + 4], acc[first + 5]]))
                ptx("dp4a.u32.u32", total[i % 2], p[i], u32(0x01010101), total[i % 2])
            for j in range(0, self._columns // COLUMNS, 2):
                word = self._v_first + j * COLUMNS * self._v_pitch + group * STEP
                self.mma.load_b(keys, 0, memory, word, self._v_pitch, lane)
                for x in range(2):
                    self.mma.multiply(out, 4 * (j + x), p, 0, keys, 2 * x, lane, unsigned=True)
        for half in range(2):
            for distance in (1, 2):
                put(total, half, total[half] + butterfly(total[half], distance))
        self._write(b, out, total, first_token, row, threads)

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
        distance = T.Cast("float32", peak - _signed(score)) * scale
        entry = T.Cast("int32", T.min(T.round(distance), f32(ENTRIES - 1)))
        return T.Select(column < self.shape.tokens, memory[self._p_first + entry], u32(0))

    def _write(self, b: _Buffers, out: Any, total: Any, first_token: Expr, row: Expr, threads: Threads) -> None:
        """Codes of a warp's rows."""
        s, lane = self.shape, threads.lane
        inverse, bounds = registers(2, "float32"), registers(2, "float32")
        for half in range(2):
            put(inverse, half, f32(1) / T.Cast("float32", _signed(total[half])))
            if b.bounds is not None:
                put(bounds, half, b.bounds[half])
        for j in range(-(-s.head_dim // COLUMNS)):
            channel = j * COLUMNS + lane % 4 * 2
            n = threads.block[1] * s.head_dim + channel
            for half in range(2):
                token = row + half * 8 + lane // 4
                mine = written(s, self.out_bits, channel, threads.block[1])
                inside = T.And(token < s.tokens, mine) if s.head_dim % COLUMNS else token < s.tokens
                with when(inside):
                    sums = [T.Cast("float32", _signed(out[4 * j + 2 * half + x])) for x in range(2)]
                    at = [tirx.min(n + i, i32(s.heads * s.head_dim - 1)) for i in range(2)]
                    values = [T.fma(x * inverse[half], b.M[at[i]], b.B[at[i]]) for i, x in enumerate(sums)]
                    put(b.out, (first_token + token, n // 2), packed_pair(values, bounds, self.out_bits))


def written(shape: CudaAttentionShape, out_bits: int, channel: Expr, head: Expr) -> Expr:
    """Whether a head writes a channel: its own, and the last one the row's end, which must be finite in float16."""
    if out_bits < HALF:
        return channel < shape.head_dim
    row = head * shape.head_dim + channel
    last = T.And(head == shape.heads - 1, row < round_up(shape.heads * shape.head_dim, 8))
    return T.Or(channel < shape.head_dim, last)


def _signed(word: Expr) -> Expr:
    return T.reinterpret(word, dtype="int32")


def pack_bytes(values: list[Expr]) -> Expr:
    """Four words below 256 as the bytes of one."""
    word = values[0]
    for i, value in enumerate(values[1:], 1):
        word = T.bitwise_or(word, T.shift_left(value, u32(8 * i)))
    return word


def transpose_bytes(rows: Any, columns: Any) -> None:
    """columns[i] = byte i of rows[0..3]; `prmt` picks bytes, 0..3 from its first word and 4..7 from its second."""
    half = registers(4)
    for i, pick in enumerate((0x5140, 0x7362)):
        ptx("prmt.b32", half[2 * i], rows[0], rows[1], u32(pick))
        ptx("prmt.b32", half[2 * i + 1], rows[2], rows[3], u32(pick))
    for i in range(4):
        ptx("prmt.b32", columns[i], half[i // 2 * 2], half[i // 2 * 2 + 1], u32((0x5410, 0x7632)[i % 2]))
