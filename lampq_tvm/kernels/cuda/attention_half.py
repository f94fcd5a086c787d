"""Softmax attention on float16 values, fused: scores, softmax and values of some query rows of a head in one block.

    x = S[h] q k^T, or fma(q k^T, S[h], bias);  p = float16(2^(x - peak));  R = sum p;  out = fma((sum p v) / R, M[n], B[n])

Keys and values pass through shared memory some tokens at a time; peak is the largest score so far, and sums are scaled down
when it rises (Milakov and Gimelshein 2018, "Online normalizer calculation for softmax"), so scores are made once and any number
of tokens fits. A score's registers are those of the value product's operand, as `mma.Mma` lays them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.attention_shape import (
    GROUP,
    Biases,
    CudaAttentionShape,
    bias_arguments,
    biases_of,
    key_of,
    load_queries,
    written,
)
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
    when,
)
from lampq_tvm.kernels.cuda.half import HalfMma, exp2, half_of, two_halves
from lampq_tvm.kernels.cuda.mma import COLUMNS, ROWS, STEP
from lampq_tvm.kernels.cuda.operand import row_words
from lampq_tvm.kernels.cuda.sink import CodeRows, CodeSink
from lampq_tvm.kernels.cuda.tiles import PAD
from lampq_tvm.kernels.shapes import round_up
from lampq_tvm.kinds import Kind

LOWEST = -1e30  # below any score, masked ones included, and 2 to the difference is 0
CHUNK = 64  # tokens in shared memory at a time


def build_half_attention(
    shape: CudaAttentionShape, mma: HalfMma, *, out: Kind = Kind.FLOAT16, table: bool = False, name: str = "attention"
) -> CudaKernel:
    """The kernel, for heads of a multiple of 4 channels.

    Buffers: qkv [images * tokens, words] uint32 in rows of whole 16 bytes; S [heads] f32; M, B [channels] f32; range [2] f32
    (only to codes) or table; with groups, bias f32 (exponents of two) and pattern as `bias_arguments`; out, codes or float16
    values [images * tokens, channels] packed as `sink.CodeRows`.
    """
    return _HalfAttention(shape, mma, out, table, name).build()


def half_attention_shared_bytes(shape: CudaAttentionShape, mma: HalfMma) -> int:
    """Bytes of shared memory of a block."""
    return _HalfAttention(shape, mma, Kind.FLOAT16, False, "").shared_bytes


@dataclass(frozen=True)
class _Buffers:
    """The kernel's buffers."""

    qkv: Any
    S: Any
    M: Any
    B: Any
    sink: CodeSink
    bias: Any
    pattern: Any
    out: Any


@dataclass(frozen=True)
class _Row:
    """A warp's registers: queries, sums of values, and of each of its two rows the peak and the sum of p; biases of scores."""

    q: Any
    out: Any
    peak: Any
    total: Any
    biases: Biases | None


@dataclass(frozen=True)
class _HalfAttention:
    """One kernel's builder."""

    shape: CudaAttentionShape
    mma: HalfMma
    out: Kind
    table: bool
    name: str

    def build(self) -> CudaKernel:
        s = self.shape
        rows, channels = s.images * s.tokens, s.heads * s.head_dim
        grid = (-(-s.tokens // (ROWS * s.warps)), s.heads, s.images)
        with IRBuilder() as builder:
            with T.prim_func(s_tir=True):
                T.func_name(self.name)
                T.func_attr({"global_symbol": self.name, "tirx.noalias": True})
                qkv = argument("qkv", (rows, row_words(3 * channels, Kind.FLOAT16.bits)), "uint32")
                S = argument("S", (s.heads,), "float32")
                M, B = (argument(letter, (channels,), "float32") for letter in "MB")
                sink = CodeSink.declare(self.out, table=self.table)
                bias, pattern = bias_arguments(s, "float32")
                out = CodeRows.declare("out", rows, channels, self.out, 2)
                with launch(grid, s.warps) as threads:
                    self._block(_Buffers(qkv, S, M, B, sink, bias, pattern, out), threads)
            func = builder.get()
        return CudaKernel(func, grid, (WARP, s.warps, 1), self.shared_bytes)

    @property
    def shared_bytes(self) -> int:
        """Of a block."""
        return 4 * self._stages * self._stage_words

    @property
    def _stages(self) -> int:
        return 2 if self.mma.asynchronous and self._chunks > 1 else 1

    @property
    def _chunks(self) -> int:
        return -(-self.shape.tokens // CHUNK)

    @property
    def _head_words(self) -> int:
        return self.shape.head_dim // 2

    @property
    def _words(self) -> int:
        """Words of a token in shared memory: whole steps."""
        return round_up(self._head_words, STEP)

    @property
    def _pitch(self) -> int:
        return self._words + PAD

    @property
    def _stage_words(self) -> int:
        return 2 * CHUNK * self._pitch

    def _block(self, b: _Buffers, threads: Threads) -> None:
        """Some query rows of a head."""
        memory = shared(self._stages * self._stage_words)
        first_token = threads.block[2] * self.shape.tokens
        row = threads.block[0] * (ROWS * threads.warps) + threads.warp * ROWS
        gap = self._words - self._head_words
        if gap:
            lines = self._stages * 2 * CHUNK
            clear(memory, lines * gap, lambda i: i // gap * self._pitch + self._head_words + i % gap, threads)
        state = self._start(b, first_token, row, threads)
        scale = b.S[threads.block[1]]
        if self._stages > 1:
            self._load(b.qkv, memory, i32(0), first_token, threads)
        with T.serial(0, self._chunks) as chunk:
            self._arrive(b.qkv, memory, chunk, first_token, threads)
            stage = chunk % self._stages * self._stage_words if self._stages > 1 else i32(0)
            with when(row < self.shape.tokens), T.serial(0, CHUNK // GROUP) as group:
                first = chunk * CHUNK + group * GROUP
                with when(first < self.shape.tokens):
                    self._group(memory, stage + group * (GROUP * self._pitch), first, state, scale, threads.lane)
            barrier()
        with when(row < self.shape.tokens):
            self._write(b, state, first_token, row, threads)

    def _arrive(self, qkv: Any, memory: Any, chunk: Expr, first_token: Expr, threads: Threads) -> None:
        """Wait until a chunk lies in shared memory; the next one is on its way then."""
        if self._stages > 1:
            with when(chunk + 1 < self._chunks):
                self._load(qkv, memory, chunk + 1, first_token, threads)
            with T.If(chunk + 1 < self._chunks):
                with T.Then():
                    ptx("cp.async.wait_group", 1)
                with T.Else():
                    ptx("cp.async.wait_group", 0)
        else:
            self._load(qkv, memory, chunk, first_token, threads)
            if self.mma.asynchronous:
                ptx("cp.async.wait_group", 0)
        barrier()

    def _load(self, qkv: Any, memory: Any, chunk: Expr, first_token: Expr, threads: Threads) -> None:
        """Start copying keys and values of a chunk; tokens beyond the last repeat it."""
        s = self.shape
        size = next(words for words in (4, 2, 1) if self._head_words % words == 0)
        across = self._head_words // size
        stage = chunk % self._stages * self._stage_words if self._stages > 1 else i32(0)
        total = CHUNK * across
        for part in range(2):
            column = ((1 + part) * s.heads + threads.block[1]) * self._head_words
            with T.serial(0, -(-total // threads.count)) as turn:
                item = turn * threads.count + threads.index
                with when(None if total % threads.count == 0 else item < total):
                    token = first_token + tirx.min(chunk * CHUNK + item // across, i32(s.tokens - 1))
                    target = stage + (part * CHUNK + item // across) * self._pitch + item % across * size
                    copy_words(memory, target, qkv, token, column + item % across * size, size, self.mma.asynchronous)
        if self.mma.asynchronous:
            ptx("cp.async.commit_group")

    def _start(self, b: _Buffers, first_token: Expr, row: Expr, threads: Threads) -> _Row:
        """A warp's 16 query rows, and nothing summed yet."""
        q = load_queries(b.qkv, self.shape, self._head_words, first_token, row, threads)
        out, peak, total = registers(self._words // STEP * 8, "float32"), registers(2, "float32"), registers(2, "float32")
        for i in range(self._words // STEP * 8):
            put(out, i, f32(0))
        for half in range(2):
            put(peak, half, f32(LOWEST))
            put(total, half, f32(0))
        return _Row(q, out, peak, total, biases_of(b.bias, b.pattern, self.shape, row, threads))

    def _group(self, memory: Any, keys_at: Expr, first: Expr, state: _Row, scale: Expr, lane: Expr) -> None:
        """Scores, weights and value sums of `GROUP` tokens, of which token `first` is one of the image's."""
        acc, b, p = registers(16, "float32"), registers(4), registers(8)
        for i in range(16):
            put(acc, i, f32(0))
        for step in range(self._words // STEP):
            for j in range(0, GROUP // COLUMNS, 2):
                self.mma.load_b(b, 0, memory, keys_at + j * COLUMNS * self._pitch + step * STEP, self._pitch, lane)
                for x in range(2):
                    self.mma.multiply(acc, 4 * (j + x), state.q, 4 * step, b, 2 * x, lane)
        self._weights(acc, first, state, scale, lane)
        for i in range(8):  # rows g and g + 8 of the tiles 0 and 1, then of 2 and 3
            put(p, i, two_halves([acc[2 * i], acc[2 * i + 1]]))
            for x in range(2):
                put(state.total, i % 2, state.total[i % 2] + half_of(p[i], x))
        for part in range(GROUP // ROWS):
            for j in range(0, self._words // STEP * 2, 2):
                word = keys_at + (CHUNK + part * ROWS) * self._pitch + j * COLUMNS // 2
                self.mma.load_turned(b, 0, memory, word, self._pitch, lane)
                for x in range(2):
                    self.mma.multiply(state.out, 4 * (j + x), p, 4 * part, b, 2 * x, lane)

    def _weights(self, acc: Any, first: Expr, state: _Row, scale: Expr, lane: Expr) -> None:
        """acc = weights of the scores in it; what was summed is brought to the new peak."""
        rise, shift = registers(2, "float32"), registers(2, "float32")
        for i in range(16):
            score = acc[i] * scale if state.biases is None else T.fma(acc[i], scale, state.biases(first, i))
            put(acc, i, T.Select(key_of(first, i, lane) < self.shape.tokens, score, f32(LOWEST)))
        for half in range(2):
            put(shift, half, state.peak[half])
            for i in range(16):
                if i % 4 // 2 == half:
                    put(shift, half, T.max(shift[half], acc[i]))
            for distance in (1, 2):
                put(shift, half, T.max(shift[half], butterfly(shift[half], distance)))
            put(rise, half, exp2(state.peak[half] - shift[half]))
            put(state.peak, half, shift[half])
            put(state.total, half, state.total[half] * rise[half])
        for i in range(self._words // STEP * 8):
            put(state.out, i, state.out[i] * rise[i % 4 // 2])
        for i in range(16):
            put(acc, i, exp2(acc[i] - shift[i % 4 // 2]))

    def _write(self, b: _Buffers, state: _Row, first_token: Expr, row: Expr, threads: Threads) -> None:
        """Codes or float16 values of a warp's rows."""
        s, lane = self.shape, threads.lane
        channels = s.heads * s.head_dim
        inverse, sink = registers(2, "float32"), b.sink.held()
        for half in range(2):
            for distance in (1, 2):
                put(state.total, half, state.total[half] + butterfly(state.total[half], distance))
            put(inverse, half, f32(1) / state.total[half])
        for j in range(self._words // STEP * 2):
            channel = j * COLUMNS + lane % 4 * 2
            n = threads.block[1] * s.head_dim + channel
            mine = written(s, self.out, channel, threads.block[1])
            for half in range(2):
                token = row + half * 8 + lane // 4
                inside = T.And(token < s.tokens, mine) if s.head_dim % (2 * COLUMNS) else token < s.tokens
                with when(inside):
                    at = [tirx.min(n + i, i32(channels - 1)) for i in range(2)]
                    sums = [state.out[4 * j + 2 * half + i] * inverse[half] for i in range(2)]
                    values = [T.fma(sums[i], b.M[at[i]], b.B[at[i]]) for i in range(2)]
                    b.out.put(first_token + token, n, sink.packed(values))
