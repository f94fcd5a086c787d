"""LayerNorm that follows a product onto a stream, in the same kernel: the last block to end makes it of the rows they share.

Blocks beside each other write parts of the same rows. Each counts itself when its part is written, and the one that finds all
others counted makes the codes of these rows while the stream is still in the cache, and sets the count back for the next
launch. Fences stand where a grid's barrier has them (CUDA C++ Programming Guide, Memory Fence Functions): what a block wrote
before it was counted is seen by the one that counts last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import Threads, argument, at, barrier, i32, put, registers, u32, when
from lampq_tvm.kernels.cuda.epilogue import HALF
from lampq_tvm.kernels.cuda.norm import RowNorm, put_row
from lampq_tvm.kernels.cuda.tiles import CudaTiles
from lampq_tvm.kernels.shapes import round_up

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
    """A LayerNorm that follows: `bits` of its codes in memory (16: float16 values), and its `eps`."""

    bits: int
    eps: float


@dataclass(frozen=True)
class FollowingNorm:
    """Its buffers."""

    norm: RowNorm
    bounds: Any
    count: Any
    codes: Any
    bits: int
    tiles: CudaTiles

    @classmethod
    def declare(cls, following: Following, stream: Any, tiles: CudaTiles) -> FollowingNorm:
        """Declare `next_G`, `next_B` [n] f32, for codes `next_range` [2] f32, `count` [tiles of rows] int32, which is zero
        before and after, and `codes` [rows, words] uint32 in rows of whole 16 bytes; `stream` [rows, n] f32 is the product's.
        """
        rows, channels = (int(extent) for extent in stream.shape)
        bits = following.bits
        G, B = (argument(f"next_{letter}", (channels,), "float32") for letter in "GB")
        bounds = argument("next_range", (2,), "float32") if bits < HALF else None
        count = argument("count", (-(-rows // tiles.rows),), "int32")
        codes = argument("codes", (rows, round_up(channels * bits, 128) // 32), "uint32")
        return cls(RowNorm(stream, G, B, following.eps), bounds, count, codes, bits, tiles)

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
        """The codes of a tile's rows: every warp makes some, side by side."""
        rows = int(self.codes.shape[0])
        each = self.tiles.rows // threads.warps if self.tiles.rows % threads.warps == 0 else 1
        side = self.norm.at_once(each)
        bounds = registers(2, "float32")
        for i in range(0 if self.bounds is None else 2):
            put(bounds, i, self.bounds[i])
        with T.serial(0, -(-self.tiles.rows // (threads.warps * side))) as turn:
            lines = [(turn * threads.warps + threads.warp) * side + i for i in range(side)]
            taken = [tirx.min(first_row + line, i32(rows - 1)) for line in lines]
            for line, values in zip(lines, self.norm.values(taken, threads.lane), strict=True):
                with when(T.And(line < self.tiles.rows, first_row + line < rows)):
                    put_row(self.codes, first_row + line, values, self.norm.channels, self.bits, bounds, threads.lane)
