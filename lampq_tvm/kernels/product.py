"""Integer product with a fused epilogue.

    panel[m, k] = A[m, k] + shift                         what the multiply-add wants, laid out for a register tile
    acc[m, n]   = sum_k panel[m, k] * W[n, k]             int32
    out[m, n]   = epilogue(acc[m, n] + correction[n])

Weights come packed as [Np / lanes, Kp / group, lanes * group], or as `Dot.layout` says, with zeros beyond N and K, so
whatever the padding of the activations holds does not matter. `correction[n]` = -shift * sum_k W[n, k] is an argument only
where shift is not 0.
Rows that are left over are a tile of their own, so every output is written once and the stream may be written in place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.emit import argument, ramp
from lampq_tvm.kernels.epilogue import Epilogue
from lampq_tvm.kernels.isa import LEVELS, dot_for
from lampq_tvm.kernels.isa.dot import Dot, Tile
from lampq_tvm.kernels.isa.operand import Packed
from lampq_tvm.kernels.panel import lay_out, panel_shape
from lampq_tvm.kernels.registers import Registers
from lampq_tvm.kernels.shapes import ProductShape, padded, round_up
from lampq_tvm.kernels.table import Table
from lampq_tvm.kernels.threads import Own, each_thread
from lampq_tvm.kernels.tiles import Tiles, default_tiles

Column = tuple[Expr, int, bool]

MOST_CHUNKS = 16  # that a row tile's columns are cut into: more share out no more evenly


@dataclass(frozen=True)
class Run:
    """Row tiles below each other: how many, the first one's first row, and the rows of each."""

    tiles: Expr | int
    first: Expr
    rows: int

    def each(self) -> Iterator[tuple[Expr, Expr]]:
        """(number, first row) of each row tile, in a loop."""
        with T.serial(0, self.tiles) as j:
            yield j, self.first + j * self.rows


@dataclass(frozen=True)
class Held:
    """What a thread holds from one job to the next: panels of row tiles, which ones these are, and codes before a look-up in
    the table that all threads share."""

    table: Table | None
    panel: Any
    packed: Any
    codes: Any | None = None


def build_product(shape: ProductShape, isa: str, w_bits: int, a_bits: int, tiles: Tiles | None = None) -> PrimFunc:
    """The kernel, for any shape and any widths 2..8.

    Arguments of the function, in order: A [M, K] int8; W packed int8; correction [N] int32 (only where the multiply-add
    shifts); then by epilogue: `codes` M, B [N] f32, range [2] f32 (lowest and highest code); `table` M, B, table [256]
    int8; `residual` stream [M, N] f32, S, B; `float` S, B; `stream` S, B, pos [period, N] f32; the output [M, N] last.
    """
    dot = dot_for(isa, w_bits, a_bits)
    return _Product(shape, isa, dot, tiles or default_tiles(shape, dot)).build()


@dataclass(frozen=True)
class _Product:
    """One kernel's builder."""

    shape: ProductShape
    isa: str
    dot: Dot
    tiles: Tiles

    def build(self) -> PrimFunc:
        shape, dot = self.shape, self.dot
        n_padded, k_padded = padded(shape, dot)
        with IRBuilder() as builder:
            with T.prim_func(s_tir=True):
                T.func_name("product")
                if shape.epilogue != "residual":  # whose output may be the stream itself
                    T.func_attr({"tirx.noalias": True})
                a = argument("A", (shape.rows, shape.k), "int8")
                w = argument("W", (n_padded // dot.lanes, k_padded // dot.group, dot.weight_bytes), "int8")
                epilogue = self._arguments()
                with T.sblock("root"):
                    T.reads()
                    T.writes()
                    self._tasks(a, w, epilogue)
            return builder.get()

    def _arguments(self) -> Epilogue:
        shape, kind = self.shape, self.shape.epilogue
        correction = argument("correction", (shape.n,), "int32") if self.dot.shift else None
        added = argument("stream", (shape.rows, shape.n), "float32") if kind == "residual" else None
        scale, shift = (argument(name, (shape.n,), "float32") for name in ("S", "B"))
        bounds = argument("range", (2,), "float32") if kind == "codes" else None
        table = argument("table", (256,), "int8") if kind == "table" else None
        if kind == "stream":
            added = argument("pos", (shape.period, shape.n), "float32")
        out = argument("out", (shape.rows, shape.n), shape.out_dtype)
        return Epilogue(shape, LEVELS[self.isa], correction, scale, shift, bounds, added, table, out)

    @property
    def _steps(self) -> int:
        return padded(self.shape, self.dot)[1] // self.dot.group

    def _tasks(self, a: Any, w: Any, epilogue: Epilogue) -> None:
        """Jobs in parallel: `group` row tiles, or the rows that are left over, times a chunk of the columns."""
        rows = self.tiles.rows
        whole, rest = divmod(self.shape.rows, rows)
        group, chunks = min(self.tiles.group, max(whole, 1)), max(1, -(-self._whole // self._run))
        stacks = -(-whole // group)
        tail = Run(1, tirx.const(whole * rows, "int32"), rest)
        jobs = (stacks + (rest > 0)) * chunks
        level = LEVELS[self.isa]
        table = None if epilogue.table is None else Table.of(level, epilogue.table)
        with each_thread(level, jobs, *self._own(group)) as buffers:
            held = Held(table, *buffers)
            T.buffer_store(held.packed, tirx.const(-1, "int32"), [0])
            with T.parallel(0, jobs) as job:
                stack, chunk = job // chunks, job % chunks
                run = Run(tirx.min(tirx.const(group, "int32"), whole - stack * group), stack * group * rows, rows)
                if not rest or not stacks:
                    self._job(a, w, epilogue, held, run if stacks else tail, (stack, chunk, chunks))
                    return
                with T.If(stack < stacks):
                    with T.Then():
                        self._job(a, w, epilogue, held, run, (stack, chunk, chunks))
                    with T.Else():
                        self._job(a, w, epilogue, held, tail, (stack, chunk, chunks))

    def _own(self, group: int) -> list[Own]:
        """Buffers of a thread, for `group` row tiles, in the order of `Held`."""
        rows, lanes = self.tiles.rows, max(LEVELS[self.isa].look_lanes, 1)
        own = [Own(panel_shape(self.dot, group, rows, self._steps), self.dot.a_dtype), Own((1,), "int32")]
        if self.shape.epilogue == "table":
            own.append(Own((group * rows, round_up(self.shape.n, lanes)), "int8"))
        return own

    def _job(self, a: Any, w: Any, epilogue: Epilogue, held: Held, run: Run, place: tuple[Expr, Expr, int]) -> None:
        """Row tiles times a chunk of columns; the panels are packed where the job before had other rows."""
        stack, chunk, chunks = place
        with T.If(held.packed[0] != stack), T.Then():
            T.buffer_store(held.packed, stack, [0])
            for j, row in run.each():
                lay_out(self.dot, held.panel, j, a, row, 0, run.rows, self.shape.k, self.dot.shift)
        for column in self._columns(chunk, chunks):
            for j, row in run.each():
                self._tile(held.panel, w, epilogue, j, row, run.rows, column, held.codes)
        if held.table is not None:
            for j, row in run.each():
                self._look_up(held.table, held.codes, epilogue.out, (j, row, run.rows), (chunk, chunks))

    @property
    def _ragged(self) -> int:
        """Channels of a last weight vector that has fewer than the others; 0: there is none."""
        return self.shape.n % self.dot.lanes

    @property
    def _whole(self) -> int:
        """Columns of whole tiles."""
        return self.shape.n // self.dot.lanes // self.tiles.vectors

    @property
    def _run(self) -> int:
        """Columns of a chunk, few enough to share out evenly; before a look-up they end with a whole register of bytes."""
        width = self.tiles.vectors * self.dot.lanes
        lanes = max(1, LEVELS[self.isa].look_lanes) if self.shape.epilogue == "table" else 1
        return round_up(max(1, self._whole // MOST_CHUNKS), math.lcm(width, lanes) // width)

    def _columns(self, chunk: Expr, chunks: int) -> Iterator[Column]:
        """(first vector, vectors, ragged) of each column of a chunk: a loop of whole ones; the last chunk has what is left."""
        blocks = padded(self.shape, self.dot)[0] // self.dot.lanes
        ragged = self._ragged > 0
        rest = blocks - ragged - self._whole * self.tiles.vectors
        if self._whole:
            end = tirx.min((chunk + 1) * self._run, tirx.const(self._whole, "int32"))
            with T.serial(chunk * self._run, end) as column:
                yield column * self.tiles.vectors, self.tiles.vectors, False
        if rest or ragged:
            with T.If(chunk == chunks - 1), T.Then():
                if rest:
                    yield tirx.const(self._whole * self.tiles.vectors, "int32"), rest, False
                if ragged:
                    yield tirx.const(blocks - 1, "int32"), 1, True

    def _tile(self, panel: Any, w: Any, epilogue: Epilogue, j: Expr, row: Expr, rows: int, column: Column, codes: Any) -> None:
        """One register tile: all of K, then the epilogue."""
        tiles, (block, vectors, ragged) = self.tiles, column
        dot = self.dot.part(self._ragged) if ragged else self.dot
        with T.sblock("tile"):
            T.reads()
            T.writes()
            slots = dot.slots(rows, vectors)
            acc = Registers(slots, dot.acc_lanes, "int32")
            tile = Tile(
                rows=rows,
                vectors=vectors,
                groups=self._steps,
                unroll=tiles.unroll,
                acc=acc,
                a=Packed(panel, (j,), dot.group),
                weights=[Packed(w, (block + vector,)) for vector in range(vectors)],
            )
            dot.multiply(tile)
            channel = block * self.dot.lanes
            sink = epilogue if codes is None else replace(epilogue, out=codes)
            out_row = row if codes is None else j * tiles.rows
            if ragged:
                sink.write_tail(dot, tile, row, channel, out_row, self._ragged)
            else:
                sink.write(dot, tile, row, channel, out_row, vectors * dot.lanes // dot.acc_lanes)

    def _look_up(self, table: Table, codes: Any, out: Any, tile: tuple[Expr, Expr, int], columns: tuple[Expr, int]) -> None:
        """out = table[code + 128] for a tile, its number, first row and rows, and for one of the chunks of the channels."""
        lanes, n, (j, row, rows), (chunk, chunks) = LEVELS[self.isa].look_lanes, self.shape.n, tile, columns
        width = self._run * self.tiles.vectors * self.dot.lanes
        begin = chunk * width
        end = tirx.Select(chunk == chunks - 1, tirx.const(n, "int32"), begin + width)
        with T.serial(0, rows) as r:
            source = j * self.tiles.rows + r
            if lanes:
                with T.serial(begin // lanes, end // lanes) as i:
                    found = codes.vload([source, i * lanes], f"int8x{lanes}")
                    T.buffer_store(out, table.of_codes(found, lanes), [row + r, ramp(i * lanes, lanes)])
            with T.serial(end // lanes * lanes if lanes else begin, end) as i:
                T.buffer_store(out, table.of_codes(codes[source, i], 1), [row + r, i])
