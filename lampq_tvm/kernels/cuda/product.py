"""Product on tensor cores with a fused epilogue.

    acc[m, n] = sum_k A[m, k] * W[n, k]             int32; float32 of float16 values
    out[m, n] = epilogue(acc[m, n])

A is a matrix of codes, or the LayerNorm of a stream, whose codes are then made in the kernel and never stored; an index can
give the order of its rows. A product can make the LayerNorm that follows of its float32 rows (`following`).

A block computes a tile [rows, columns]. Tiles of A and W travel into shared memory `stages` steps ahead by asynchronous
copies; each warp multiplies its part with tensor core instructions and writes what the epilogue makes of its sums. Warps that
share a step's words add their sums up first. Rows and columns beyond the edge repeat the last one and are not written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import (
    LEAST_BLOCKS,
    WARP,
    CudaKernel,
    Threads,
    argument,
    as_type,
    barrier,
    i32,
    launch,
    put,
    registers,
    shared,
    under,
    when,
)
from lampq_tvm.kernels.cuda.epilogue import Epilogue, Halves
from lampq_tvm.kernels.cuda.following import Following, FollowingNorm
from lampq_tvm.kernels.cuda.fragments import Fragments
from lampq_tvm.kernels.cuda.mma import COLUMNS, ROWS, STEP, Mma
from lampq_tvm.kernels.cuda.operand import Gather, Normed, Operand, Order, Streamed, panel_pitch, row_words
from lampq_tvm.kernels.cuda.pipeline import Copy, Pipeline
from lampq_tvm.kernels.cuda.sink import TABLE_WORDS
from lampq_tvm.kernels.cuda.tiles import CudaTiles, default_tiles
from lampq_tvm.kernels.cuda.turned import Turning
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kinds import Kind

MOST_WRITTEN_OUT = 8  # steps


def weight_words(shape: ProductShape, mma: Mma, tiles: CudaTiles) -> int:
    """Words of a weight row: K filled up with zeros to whole steps of the pipeline."""
    steps = -(-row_words(shape.k, mma.a_bits) // tiles.words)
    return steps * tiles.words * mma.w_bits // mma.a_bits


def shared_words(shape: ProductShape, mma: Mma, tiles: CudaTiles, *, normed: bool) -> int:
    """Words of shared memory of a block; `normed`: its codes are made by LayerNorm and stay there for all of K."""
    w_stage = tiles.columns * (tiles.words * mma.w_bits // mma.a_bits + mma.pad)
    a_stage = 0 if normed else tiles.rows * (tiles.words + mma.pad)
    fixed = tiles.rows * panel_pitch(shape.k, mma, tiles) if normed else 0
    scratch = mma.scratch_words(*tiles.warp_tile) * tiles.warps
    exchanged = tiles.rows * tiles.columns * tiles.splits if tiles.splits > 1 else 0
    table = TABLE_WORDS if shape.epilogue == "table" else 0
    return max(fixed + tiles.stages * (a_stage + w_stage), scratch, exchanged) + table


def build_product(
    shape: ProductShape,
    mma: Mma,
    *,
    out: Kind = Kind.INT8,
    table: bool = False,
    prefix: int = 0,
    norm_eps: float | None = None,
    centred: bool = True,
    act: str = "",
    following: Following | None = None,
    gather: Gather | None = None,
    turning: Turning | None = None,
    tiles: CudaTiles | None = None,
    name: str = "product",
) -> CudaKernel:
    """The kernel, for any shape.

    Buffers: with `gather` index [taken] int32; A [M, words of K] uint32, or with `norm_eps` those of `operand.Normed`;
    W [N, `weight_words`] uint32; S, B [N] f32; by epilogue: `codes` range [2] f32, `table` table [256] int8 or float16 as
    words, `stream` pos [period, N] f32, `act` affine, range [2] f32 (only where codes come out), `turned` range and those of
    `turned.Turned`; out: packed codes of whole 16 bytes a row (`sink.CodeRows`), or float32 [M, N], which `residual`
    reads and adds to in place; with `following` those of `following.FollowingNorm`.

    Args:
        out: int8, int4 for codes packed two a byte, or float16.
        table: also behind `act` a table is looked up; behind `table` it always is.
        prefix: for `stream`, rows left free before each image's.
        norm_eps: eps of the LayerNorm that makes the codes; None where they lie in memory.
        centred: whether that takes the mean out.
        act: function of the epilogue `act`.
        following: a LayerNorm of what `residual` or `float` leave, made too.
        gather: A's rows, or the stream's, are taken by an index.
        turning: what columns are, for `turned`.
    """
    tiles = tiles or default_tiles(shape, mma)
    table = table or shape.epilogue == "table"
    return _Product(shape, mma, tiles, out, table, prefix, norm_eps, centred, act, following, gather, turning, name).build()


@dataclass(frozen=True)
class _Product:
    """One kernel's builder."""

    shape: ProductShape
    mma: Mma
    tiles: CudaTiles
    out: Kind
    table: bool
    prefix: int
    norm_eps: float | None
    centred: bool
    act: str
    following: Following | None
    gather: Gather | None
    turning: Turning | None
    name: str

    def build(self) -> CudaKernel:
        shape, tiles = self.shape, self.tiles
        grid = (-(-shape.n // tiles.columns), -(-shape.rows // tiles.rows), 1)
        with IRBuilder() as builder:
            with T.prim_func(s_tir=True):
                T.func_name(self.name)
                T.func_attr({"global_symbol": self.name, "tirx.noalias": True, LEAST_BLOCKS: self._least_blocks})
                order = Order.declare(shape, self.gather)
                if self.norm_eps is None:
                    a: Operand = Streamed.declare(order, self.mma, tiles)
                else:
                    a = Normed.declare(order, self.mma, tiles, self.norm_eps, self.centred)
                w = argument("W", (shape.n, weight_words(shape, self.mma, tiles)), "uint32")
                columns = tiles.warp_tile[1]
                epilogue = Epilogue.arguments(shape, self.out, self.prefix, self.act, self.turning, columns, table=self.table)
                after = None if self.following is None else FollowingNorm.declare(self.following, epilogue.out, tiles)
                with launch(grid, tiles.warps, waits=False) as threads:
                    memory = shared(shared_words(shape, self.mma, tiles, normed=self.norm_eps is not None))
                    self._block(a, w, epilogue, memory, threads)
                    if after is not None:
                        after.finish(memory, threads)
            func = builder.get()
        words = shared_words(shape, self.mma, tiles, normed=self.norm_eps is not None)
        return CudaKernel(func, grid, (32, tiles.warps, 1), 4 * words)

    @property
    def _least_blocks(self) -> int:
        """Blocks that must fit into a multiprocessor's registers: while one waits the other multiplies."""
        m, n = self.tiles.warp_tile
        return 2 if self.tiles.warps == 8 and m * n <= 64 * WARP else 1

    @property
    def _w_pitch(self) -> int:
        return self.tiles.words * self.mma.w_bits // self.mma.a_bits + self.mma.pad

    def _stage_words(self, a: Operand) -> int:
        return a.stage_words + self.tiles.columns * self._w_pitch

    def _block(self, a: Operand, w: Any, epilogue: Epilogue, memory: Any, threads: Threads) -> None:
        """One block's tile."""
        tiles, mma, stage_words = self.tiles, self.mma, self._stage_words(a)
        m, n = tiles.warp_tile
        acc = registers(m // ROWS * (n // COLUMNS) * 4, mma.sums)
        for i in range(m // ROWS * (n // COLUMNS) * 4):
            put(acc, i, tirx.const(0, mma.sums))
        first_row, first_column = threads.block[1] * tiles.rows, threads.block[0] * tiles.columns
        last, w_words = self.shape.n - 1, self._w_pitch - mma.pad
        weights = Copy(w, first_column, last, tiles.columns, w_words, self._w_pitch, a.stage_words, n, True)
        steps = int(w.shape[1]) // weights.words
        pipeline = Pipeline((*a.copies(first_row), weights), tiles.stages, a.fixed_words, stage_words, steps, mma.asynchronous)
        epilogue.prepare(memory, int(memory.shape[0]) - TABLE_WORDS, threads)
        pipeline.start(memory, threads)
        a.prepare(memory, first_row, threads)
        position, part = threads.warp % (tiles.warps // tiles.splits), threads.warp // (tiles.warps // tiles.splits)
        warp_row, warp_column = position // tiles.warp_columns * m, position % tiles.warp_columns * n
        share = tiles.words // tiles.splits
        w_first = a.stage_words + warp_column * self._w_pitch + part * (share * mma.w_bits // mma.a_bits)
        fragments = Fragments(mma, memory, m // ROWS, n // COLUMNS, a.pitch, self._w_pitch, threads.lane)

        def load(step: Expr | int, slot: int, k: int) -> None:
            stage = i32(pipeline.stage(slot))
            a_word = a.word(stage, i32(step) if isinstance(step, int) else step) + warp_row * a.pitch + part * share
            fragments.load(a_word + k * STEP, stage + w_first + k * mma.w_step)

        pipeline.begin()
        self._multiply(acc, fragments, load, lambda step, slot: pipeline.turn(memory, step, slot, threads), steps)
        if mma.scratch_words(m, n):
            barrier()
            mma.settle(acc, memory, threads.warp * mma.scratch_words(m, n), m, n, threads.lane)
        corner = (first_row + warp_row, first_column + warp_column)
        halves = [(i, half) for i in range(m // ROWS) for half in range(2)]
        if tiles.splits == 1:
            epilogue.write(acc, mma, corner, n, halves, threads.lane)
            return
        base = position * (tiles.splits * m * n) + threads.lane
        barrier()
        for i in range(m * n // WARP):
            put(memory, base + part * (m * n) + i * WARP, as_type(acc[i], "uint32"))
        barrier()
        for which in range(tiles.splits):
            mine = halves[which :: tiles.splits]
            if mine:
                with when(part == which):
                    self._add_up(memory, acc, base, which, mine)
                    epilogue.write(acc, mma, corner, n, mine, threads.lane)

    def _add_up(self, memory: Any, acc: Any, base: Expr, which: int, halves: Halves) -> None:
        """Add the other warps' sums of some half tiles of rows to those of warp `which`."""
        m, n = self.tiles.warp_tile
        for i, half in halves:
            for j in range(n // COLUMNS):
                for x in range(2):
                    place = 4 * (i * (n // COLUMNS) + j) + 2 * half + x
                    for other in range(self.tiles.splits):
                        if other != which:
                            found = memory[base + other * (m * n) + place * WARP]
                            put(acc, place, acc[place] + as_type(found, self.mma.sums))

    def _multiply(
        self,
        acc: Any,
        fragments: Fragments,
        load: Callable[[Expr | int, int, int], None],
        turn: Callable[[Expr | int, int], None],
        steps: int,
    ) -> None:
        """All steps: written out where they are few, else as many at a time as there are stages."""
        each, depth = self.tiles.words // self.tiles.splits // STEP, self.tiles.stages

        def one(step: Expr | int, slot: int) -> None:
            for k in range(each):
                load(step, slot, k)
                fragments.multiply(acc)
            turn(step, slot)

        if steps <= MOST_WRITTEN_OUT:
            for step in range(steps):
                one(step, step)
            return
        with T.serial(0, -(-steps // depth)) as round_:
            for slot in range(depth):
                step = round_ * depth + slot
                for _ in under(True if slot == 0 or steps % depth == 0 else step < steps):
                    one(step, slot)
