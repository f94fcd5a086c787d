"""Where a product's rows of codes come from: a matrix in memory, or the LayerNorm of a stream made in the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import WARP, Threads, argument, i32, put, u32, when
from lampq_tvm.kernels.cuda.mma import Mma
from lampq_tvm.kernels.cuda.norm import RowNorm, row_words_of
from lampq_tvm.kernels.cuda.pipeline import Copy
from lampq_tvm.kernels.cuda.sink import CodeSink
from lampq_tvm.kernels.cuda.tiles import CudaTiles
from lampq_tvm.kernels.shapes import ProductShape, round_up


def row_words(codes: int, bits: int) -> int:
    """Words of a row of codes in memory: whole 16 bytes."""
    return round_up(codes * bits, 128) // 32


def panel_pitch(channels: int, mma: Mma, tiles: CudaTiles) -> int:
    """Words between rows of codes that lie in shared memory for all of K: whole steps, never a multiple of eight words."""
    return round_up(row_words(channels, mma.a_bits), tiles.words) + mma.pad


@dataclass(frozen=True)
class Gather:
    """Rows taken in another order, in windows for one: of every image's `rows` `taken` ones, by an index."""

    rows: int
    taken: int


@dataclass(frozen=True)
class Order:
    """Where a product's rows stand: one after the other, or where an index [taken] int32 says, image by image."""

    shape: ProductShape
    gather: Gather | None
    index: Any

    @classmethod
    def declare(cls, shape: ProductShape, gather: Gather | None) -> Order:
        """Declare the kernel's buffer `index` where there is a gather; it has no -1."""
        return cls(shape, gather, None if gather is None else argument("index", (gather.taken,), "int32"))

    @property
    def source_rows(self) -> int:
        """Rows of the matrix that they are taken from."""
        return self.shape.rows if self.gather is None else self.shape.rows // self.gather.taken * self.gather.rows

    def row(self, m: Expr) -> Expr:
        """The place of row m."""
        if self.gather is None:
            return m
        return m // self.gather.taken * self.gather.rows + self.index[m % self.gather.taken]


@dataclass(frozen=True)
class Streamed:
    """Codes [rows, words] in memory, copied step by step."""

    source: Any
    order: Order
    mma: Mma
    tiles: CudaTiles

    fixed_words = 0  # of shared memory that all steps share

    @classmethod
    def declare(cls, order: Order, mma: Mma, tiles: CudaTiles) -> Streamed:
        """Declare the kernel's buffer `A`."""
        source = argument("A", (order.source_rows, row_words(order.shape.k, mma.a_bits)), "uint32")
        return cls(source, order, mma, tiles)

    @property
    def pitch(self) -> int:
        """Words between rows in shared memory."""
        return self.tiles.words + self.mma.pad

    @property
    def stage_words(self) -> int:
        """Words of a stage."""
        return self.tiles.rows * self.pitch

    def copies(self, first_row: Expr) -> tuple[Copy, ...]:
        """What is copied each step, to the beginning of the stage."""
        last, rows, words = self.order.shape.rows - 1, self.tiles.rows, self.tiles.words
        return (Copy(self.source, first_row, last, rows, words, self.pitch, 0, taken=self.order.row),)

    def prepare(self, memory: Any, first_row: Expr, threads: Threads) -> None:
        """Nothing is needed before the first step."""

    def word(self, stage: Expr, step: Expr) -> Expr:
        """First word of the tile of a step."""
        return stage


@dataclass(frozen=True)
class Normed:
    """Codes of LayerNorm: every block makes those of its rows, for all of K, before its first step."""

    norm: RowNorm
    sink: CodeSink
    order: Order
    mma: Mma
    tiles: CudaTiles

    stage_words = 0

    @classmethod
    def declare(cls, order: Order, mma: Mma, tiles: CudaTiles, eps: float, centred: bool = True) -> Normed:
        """Declare the buffers `stream` [rows, K] f32, `G`, `N` [K] f32 (factor and shift), for codes `bounds` [2] f32."""
        stream = argument("stream", (order.source_rows, order.shape.k), "float32")
        G, N = (argument(name, (order.shape.k,), "float32") for name in "GN")
        return cls(RowNorm(stream, G, N, eps, centred), CodeSink.declare(mma.codes, name="bounds"), order, mma, tiles)

    @property
    def pitch(self) -> int:
        """Words between rows in shared memory."""
        return panel_pitch(self.norm.channels, self.mma, self.tiles)

    @property
    def fixed_words(self) -> int:
        """Words of shared memory that all steps share."""
        return self.tiles.rows * self.pitch

    def copies(self, first_row: Expr) -> tuple[Copy, ...]:
        """Nothing travels."""
        return ()

    def prepare(self, memory: Any, first_row: Expr, threads: Threads) -> None:
        """Every warp makes some rows, side by side, with zeros after them."""
        sink = self.sink.held()
        words, filled = -(-self.norm.channels * self.mma.a_bits // 32), self.pitch - self.mma.pad
        side = self.norm.at_once(self.tiles.rows // threads.warps)
        last = i32(self.order.shape.rows - 1)
        with T.serial(0, self.tiles.rows // threads.warps // side) as turn:
            lines = [(turn * threads.warps + threads.warp) * side + i for i in range(side)]
            rows = [self.order.row(tirx.min(first_row + line, last)) for line in lines]
            for line, values in zip(lines, self.norm.values(rows, threads.lane), strict=True):
                for place, word, has in row_words_of(values, sink, threads.lane):
                    inside = place < words if has is None else T.And(has, place < words)
                    with when(inside):
                        put(memory, line * self.pitch + place, word)
                for first in range(words // WARP * WARP, filled, WARP):
                    place = threads.lane + first
                    with when(T.And(place >= words, place < filled)):
                        put(memory, line * self.pitch + place, u32(0))

    def word(self, stage: Expr, step: Expr) -> Expr:
        """First word of the tile of a step."""
        return step * self.tiles.words


Operand = Streamed | Normed
