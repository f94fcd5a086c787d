"""LayerNorm that follows a product, in the same kernel: the last block to end makes it of the rows that blocks share.

Blocks beside each other write parts of the same rows. Each counts itself when its part is written, and the one that finds all
others counted makes what follows of these rows while they are in the cache, and sets the count back for the next launch.
Fences stand where a grid's barrier has them (CUDA C++ Programming Guide, Memory Fence Functions): what a block wrote before it
was counted is seen by the one that counts last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import WARP, Threads, argument, at, barrier, f32, i32, put, registers, u32, when
from lampq_tvm.kernels.cuda.norm import RowNorm, put_row
from lampq_tvm.kernels.cuda.sink import CodeSink
from lampq_tvm.kernels.cuda.tiles import CudaTiles
from lampq_tvm.kernels.shapes import round_up
from lampq_tvm.kinds import Kind

COUNT_IN = """
__forceinline__ __device__ uint lampq_count_in(int* count) {
  __threadfence();
  int before = atomicAdd(count, 1);
  __threadfence();
  return before;
}
"""


@dataclass(frozen=True)
class Following:
    """A LayerNorm that follows.

    Attributes:
        codes: kind of those in memory; None for none, where there is a sum.
        eps, centred: of the LayerNorm.
        summed: it is added to a stream, and codes are made of the sum; else of the LayerNorm.
    """

    codes: Kind | None
    eps: float
    summed: bool = False
    centred: bool = True


@dataclass(frozen=True)
class Codes:
    """Rows of codes: `next_range` [2] f32 (not of float16 values), `codes` [rows, words] uint32 in rows of whole 16 bytes."""

    sink: CodeSink
    channels: int
    codes: Any

    @classmethod
    def declare(cls, rows: int, channels: int, kind: Kind) -> Codes:
        """Declare the buffers."""
        sink = CodeSink.declare(kind, name="next_range")
        return cls(sink, channels, argument("codes", (rows, round_up(channels * kind.bits, 128) // 32), "uint32"))

    def put(self, row: Expr, values: list[Expr], lane: Expr) -> None:
        """Write a row's codes, from values in their units as `RowNorm.values` gives them."""
        put_row(self.codes, row, values, self.channels, self.sink, lane)


@dataclass(frozen=True)
class Sum:
    """A LayerNorm added to a stream: `base`, `sum` [rows, n] f32; with codes, `next_affine` [2] f32, (1/s, z) of them."""

    base: Any
    sum: Any
    affine: Any
    codes: Codes | None

    @classmethod
    def declare(cls, rows: int, channels: int, kind: Kind | None) -> Sum:
        """Declare the buffers."""
        base, total = (argument(name, (rows, channels), "float32") for name in ("base", "sum"))
        affine = argument("next_affine", (2,), "float32") if kind else None
        return cls(base, total, affine, Codes.declare(rows, channels, kind) if kind else None)

    def put(self, row: Expr, values: list[Expr], lane: Expr) -> None:
        """Write a row's sums, and their codes."""
        channels, sums = int(self.base.shape[1]), registers(len(values), "float32")
        for j, value in enumerate(values):
            channel, whole = lane + j * WARP, (j + 1) * WARP <= channels
            if not whole:
                put(sums, j, f32(0))  # lanes exchange these too
            with when(None if whole else channel < channels):
                put(sums, j, self.base[row, channel] + value)
                put(self.sum, (row, channel), sums[j])
        if self.codes is not None:
            self.codes.put(row, [T.fma(sums[j], self.affine[0], self.affine[1]) for j in range(len(values))], lane)


@dataclass(frozen=True)
class FollowingNorm:
    """Its buffers."""

    norm: RowNorm
    count: Any
    made: Codes | Sum
    tiles: CudaTiles

    @classmethod
    def declare(cls, following: Following, product: Any, tiles: CudaTiles) -> FollowingNorm:
        """Declare `next_G`, `next_B` [n] f32, `count` [tiles of rows] int32, which is zero before and after, and the buffers of
        `Codes` or `Sum`; `product` [rows, n] f32 is what the LayerNorm is made of.
        """
        rows, channels = (int(extent) for extent in product.shape)
        G, B = (argument(f"next_{letter}", (channels,), "float32") for letter in "GB")
        count = argument("count", (-(-rows // tiles.rows),), "int32")
        if following.summed:
            made: Codes | Sum = Sum.declare(rows, channels, following.codes)
        else:
            assert following.codes is not None
            made = Codes.declare(rows, channels, following.codes)
        return cls(RowNorm(product, G, B, following.eps, following.centred), count, made, tiles)

    def finish(self, memory: Any, threads: Threads) -> None:
        """What a block does when it has written its part; word 0 of shared memory is taken for the count."""
        blocks, tile = -(-self.norm.channels // self.tiles.columns), threads.block[1]
        barrier()
        if blocks == 1:
            self._rows(tile * self.tiles.rows, threads)
            return
        with when(threads.index == 0):
            counted = T.cuda.func_call("lampq_count_in", at(self.count, tile), source_code=COUNT_IN, return_type="uint32")
            put(memory, 0, counted)
        barrier()
        before = registers(1)
        put(before, 0, memory[0])
        with when(before[0] == u32(blocks - 1)):
            with when(threads.index == 0):
                put(self.count, tile, i32(0))
            self._rows(tile * self.tiles.rows, threads)

    def _rows(self, first_row: Expr, threads: Threads) -> None:
        """What follows, for a tile's rows: every warp makes some, side by side, those beyond the last that one again.

        A condition instead would have the compiler gather its lanes anew for every shuffle, by a call.
        """
        height, last = self.tiles.rows, i32(int(self.norm.stream.shape[0]) - 1)
        side = self.norm.at_once(height // threads.warps if height % threads.warps == 0 else 1)
        with T.serial(0, -(-height // (threads.warps * side))) as turn:
            lines = [(turn * threads.warps + threads.warp) * side + i for i in range(side)]
            rows = [tirx.min(first_row + tirx.min(line, i32(height - 1)), last) for line in lines]
            for row, values in zip(rows, self.norm.values(rows, threads.lane), strict=True):
                self.made.put(row, values, threads.lane)
