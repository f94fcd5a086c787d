"""Attention of constant queries, as pooling heads have it: a block for each query of an image's head.

    codes    p = P[min(255, rne((max - score) * S))];  out = sat(rne(fma(sum p v * (1 / sum p), M, B)))
    float16  p = float16(2^(score * S - max)), sums in float32; the same from there on

A network has one of these at its end, a thousandth of its work: threads take tokens, then words of channels, as they come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import (
    WARP,
    CudaKernel,
    Threads,
    argument,
    as_type,
    barrier,
    f32,
    i32,
    launch,
    put,
    registers,
    rounded,
    shared,
    u32,
    when,
)
from lampq_tvm.kernels.cuda.half import exp2, half_of, two_halves
from lampq_tvm.kernels.cuda.operand import row_words
from lampq_tvm.kernels.cuda.sink import CodeRows, CodeSink
from lampq_tvm.kernels.shapes import round_up
from lampq_tvm.kinds import Kind

ENTRIES = 256  # of P
WARPS = 4


@dataclass(frozen=True)
class PoolShape:
    """What a pooling kernel is built for.

    Attributes:
        images, tokens, heads: of its input kv [images * tokens, 2 * heads * head_dim].
        queries: of each head.
        head_dim: channels of a head, a multiple of 4, at most 256: a word of two float16 values for each thread.
    """

    images: int
    tokens: int
    heads: int
    queries: int
    head_dim: int

    @property
    def key(self) -> str:
        """Short text that names the shape."""
        return f"i{self.images}_t{self.tokens}_h{self.heads}x{self.head_dim}_q{self.queries}"


def build_pool(
    shape: PoolShape, *, half: bool = False, out: Kind = Kind.INT8, table: bool = False, name: str = "pool"
) -> CudaKernel:
    """The kernel, for codes of 8 bits or (half) float16 values.

    Buffers: kv [images * tokens, words] uint32; query [heads, queries * head_dim] of int8, or of float16 in words; S [heads]
    f32; P [256] uint8 (codes only); M, B [heads * head_dim] f32; range [2] f32 (where codes come out) or table; out [images *
    queries, words] of `out`.
    """
    return _Pool(shape, half, out, table, name).build()


@dataclass(frozen=True)
class _Pool:
    """One kernel's builder."""

    shape: PoolShape
    half: bool
    out: Kind
    table: bool
    name: str

    def build(self) -> CudaKernel:
        s, bits = self.shape, (Kind.FLOAT16 if self.half else Kind.INT8).bits
        channels, grid = s.heads * s.head_dim, (s.queries, s.heads, s.images)
        with IRBuilder() as builder:
            with T.prim_func(s_tir=True):
                T.func_name(self.name)
                T.func_attr({"global_symbol": self.name, "tirx.noalias": True})
                kv = argument("kv", (s.images * s.tokens, row_words(2 * channels, bits)), "uint32")
                query = argument("query", (s.heads, s.queries * self._words), "uint32")
                S = argument("S", (s.heads,), "float32")
                P = None if self.half else argument("P", (ENTRIES,), "uint8")
                M, B = (argument(letter, (channels,), "float32") for letter in "MB")
                sink = CodeSink.declare(self.out, table=self.table)
                out = CodeRows.declare("out", s.images * s.queries, channels, self.out, self._per)
                with launch(grid, WARPS) as threads:
                    memory = shared(self._memory_words)
                    self._weights(memory, kv, query, S, P, threads)
                    self._values(memory, kv, threads)
                    with when(threads.index < self._words):
                        self._write(memory, M, B, sink, out, threads)
            func = builder.get()
        return CudaKernel(func, grid, (WARP, WARPS, 1), 4 * self._memory_words)

    @property
    def _per(self) -> int:
        """Channels of a word."""
        return 2 if self.half else 4

    @property
    def _words(self) -> int:
        """Words of a head's channels."""
        return self.shape.head_dim // self._per

    @property
    def _slices(self) -> int:
        """Threads that share the tokens of a word of channels."""
        return min(WARPS * WARP // self._words, self.shape.tokens)

    @property
    def _memory_words(self) -> int:
        """Scores, what becomes of them, and every thread's sums."""
        return 2 * self._padded + self._slices * self.shape.head_dim

    @property
    def _padded(self) -> int:
        """Tokens, up to whole vectors: NVRTC reads four words at once, and the last ones must have been written."""
        return round_up(self.shape.tokens, 4)

    @property
    def _dtype(self) -> str:
        return "float32" if self.half else "int32"

    def _items(self, word: Expr) -> list[Expr]:
        """A word's channels as float32, or as int32."""
        if self.half:
            return [half_of(word, i) for i in range(2)]
        signed = T.reinterpret(word, dtype="int32")
        return [T.shift_right(T.shift_left(signed, i32(24 - 8 * i)), i32(24)) for i in range(4)]

    def _weights(self, memory: Any, kv: Any, query: Any, S: Any, P: Any, threads: Threads) -> None:
        """Scores, then the weight of every token behind them."""
        s = self.shape
        number, head, image = threads.block
        scale, scores = S[head], registers(-(-self._padded // threads.count), self._dtype)
        for turn, token in self._tokens(threads):
            put(scores, turn, T.Cast(self._dtype, i32(0)))
            row = image * s.tokens + T.min(token, i32(s.tokens - 1))  # tokens beyond the last repeat it
            with T.serial(0, self._words) as word:
                keys = self._items(kv[row, head * self._words + word])
                for q, key in zip(self._items(query[head, number * self._words + word]), keys, strict=True):
                    put(scores, turn, scores[turn] + q * key)
            if self.half:
                put(scores, turn, scores[turn] * scale)
            put(memory, token, as_type(scores[turn], "uint32"))
        barrier()
        top = registers(1, self._dtype)
        put(top, 0, as_type(memory[0], self._dtype))
        with T.serial(1, self._padded) as token:
            put(top, 0, T.max(top[0], as_type(memory[token], self._dtype)))
        for turn, token in self._tokens(threads):
            if self.half:
                weight = half_of(two_halves([exp2(scores[turn] - top[0]), f32(0)]), 0)
            else:
                place = T.min(T.Cast("float32", top[0] - scores[turn]) * scale, f32(ENTRIES - 1))
                weight = T.Cast("int32", P[T.bitwise_and(as_type(rounded(place), "int32"), i32(ENTRIES - 1))])
            put(memory, self._padded + token, T.Select(token < s.tokens, as_type(weight, "uint32"), u32(0)))
        barrier()

    def _tokens(self, threads: Threads) -> Iterator[tuple[int, Expr]]:
        """(number, token) of each token of a thread."""
        for turn, first in enumerate(range(0, self._padded, threads.count)):
            token = first + threads.index
            with when(None if first + threads.count <= self._padded else token < self._padded):
                yield turn, token

    def _values(self, memory: Any, kv: Any, threads: Threads) -> None:
        """Every thread's sums of p v, of a word of channels and a share of the tokens."""
        s, per, words = self.shape, self._per, self._words
        _, head, image = threads.block
        part, word = threads.index // words, threads.index % words
        sums = registers(per, self._dtype)
        for i in range(per):
            put(sums, i, T.Cast(self._dtype, i32(0)))
        with when(part < self._slices), T.serial(0, -(-s.tokens // self._slices)) as step:
            token = step * self._slices + part
            with when(None if s.tokens % self._slices == 0 else token < s.tokens):
                weight = as_type(memory[self._padded + token], self._dtype)
                for i, value in enumerate(self._items(kv[image * s.tokens + token, (s.heads + head) * words + word])):
                    put(sums, i, sums[i] + weight * value)
        with when(part < self._slices):  # apart: TVM puts a barrier between reading shared memory and writing it
            for i in range(per):
                put(memory, 2 * self._padded + threads.index * per + i, as_type(sums[i], "uint32"))
        barrier()

    def _write(self, memory: Any, M: Any, B: Any, sink: CodeSink, out: CodeRows, threads: Threads) -> None:
        """A word of channels: what all threads added up, over the sum of the weights; a row's end must be finite in float16."""
        s, per = self.shape, self._per
        number, head, image = threads.block
        total, sums = registers(1, self._dtype), registers(per, self._dtype)
        put(total, 0, T.Cast(self._dtype, i32(0)))
        with T.serial(0, self._padded) as token:
            put(total, 0, total[0] + as_type(memory[self._padded + token], self._dtype))
        for i in range(per):
            put(sums, i, T.Cast(self._dtype, i32(0)))
        with T.serial(0, self._slices) as part:
            for i in range(per):
                place = 2 * self._padded + (part * self._words + threads.index) * per + i
                put(sums, i, sums[i] + as_type(memory[place], self._dtype))
        inverse, channel = f32(1) / T.Cast("float32", total[0]), head * s.head_dim + threads.index * per
        values = [T.fma(T.Cast("float32", sums[i]) * inverse, M[channel + i], B[channel + i]) for i in range(per)]
        row, channels = image * s.queries + number, s.heads * s.head_dim
        out.put(row, channel, sink.packed(values))
        for after in range(0, -channels % 8 if self.out.is_float else 0, per):
            with when(channel == channels - per):
                out.put(row, i32(channels + after), sink.packed([f32(0)] * per))
