"""Integer product with a fused epilogue.

    panel[m, k] = A[m, k] + shift                         what the multiply-add wants, laid out for a register tile
    acc[m, n]   = sum_k panel[m, k] * W[n, k]             int32
    out[m, n]   = epilogue(acc[m, n] + correction[n])

Weights come packed as [Np / lanes, Kp / group, lanes * group] with zeros beyond N and K, so whatever the padding of the
activations holds does not matter. `correction[n]` = -shift * sum_k W[n, k] is an argument only where shift is not 0.
Rows that are left over are a tile of their own, so every output is written once and the stream may be written in place.
"""

from __future__ import annotations

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
from lampq_tvm.kernels.panel import allocate, lay_out
from lampq_tvm.kernels.shapes import ProductShape, padded, round_up
from lampq_tvm.kernels.tiles import Tiles, default_tiles

Column = tuple[Expr, int, bool]

FEW_TILES = 4  # row tiles up to which tasks share out channels instead


@dataclass(frozen=True)
class Run:
    """Row tiles below each other: how many, the first one's first row, and the rows of each."""

    tiles: Expr | int
    first: Expr
    rows: int


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
                w = argument("W", (n_padded // dot.lanes, k_padded // dot.group, dot.lanes * dot.group), "int8")
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
        """Row tiles in parallel, `group` of them a task; channels in parallel where there are few row tiles."""
        rows = self.tiles.rows
        whole, rest = divmod(self.shape.rows, rows)
        tail = [Run(1, tirx.const(whole * rows, "int32"), rest)] if rest else []
        if whole + len(tail) <= FEW_TILES:
            runs = [Run(whole, tirx.const(0, "int32"), rows)] if whole else []
            self._stack(a, w, epilogue, runs + tail, whole + len(tail), parallel=True)
            return
        group = min(self.tiles.group, whole)
        tasks = -(-whole // group)
        with T.parallel(0, tasks + len(tail)) as task:
            left = tirx.min(tirx.const(group, "int32"), whole - task * group)
            run = Run(left, task * group * rows, rows)
            if not tail:
                self._stack(a, w, epilogue, [run], group)
                return
            with T.If(task < tasks):
                with T.Then():
                    self._stack(a, w, epilogue, [run], group)
                with T.Else():
                    self._stack(a, w, epilogue, tail, 1)

    def _stack(self, a: Any, w: Any, epilogue: Epilogue, runs: list[Run], most: int, parallel: bool = False) -> None:
        """At most `most` row tiles: their panels are packed once, then column after column of tiles, then the look-ups."""
        with T.sblock("stack"):
            T.reads()
            T.writes()
            panel = allocate(self.dot, most, self.tiles.rows, self._steps)
            codes = self._codes(most) if epilogue.table is not None else None
            for j, row, rows in _row_tiles(runs):
                lay_out(self.dot, panel, j, a, row, 0, rows, self.shape.k, self.dot.shift)
            for column in self._columns(parallel):
                for j, row, rows in _row_tiles(runs):
                    self._tile(panel, w, epilogue, j, row, rows, column, codes)
            if codes is not None:
                for j, row, rows in _row_tiles(runs):
                    self._look_up(epilogue, codes, j, row, rows)

    def _codes(self, tiles: int) -> Any:
        level = LEVELS[self.isa]
        return T.sblock_alloc_buffer((tiles * self.tiles.rows, round_up(self.shape.n, max(level.look_lanes, 1))), "int8")

    def _columns(self, parallel: bool) -> Iterator[Column]:
        """(first vector, vectors, ragged) of each column of tiles: a loop over whole ones, then what is left over."""
        blocks = padded(self.shape, self.dot)[0] // self.dot.lanes
        ragged = self.shape.n % self.dot.lanes > 0
        whole, rest = divmod(blocks - ragged, self.tiles.vectors)
        if whole:
            with (T.parallel if parallel else T.serial)(0, whole) as column:
                yield column * self.tiles.vectors, self.tiles.vectors, False
        if rest:
            yield tirx.const(whole * self.tiles.vectors, "int32"), rest, False
        if ragged:
            yield tirx.const(blocks - 1, "int32"), 1, True

    def _tile(self, panel: Any, w: Any, epilogue: Epilogue, j: Expr, row: Expr, rows: int, column: Column, codes: Any) -> None:
        """One register tile: all of K, then the epilogue."""
        dot, tiles, (block, vectors, ragged) = self.dot, self.tiles, column
        with T.sblock("tile"):
            T.reads()
            T.writes()
            slots = dot.slots(rows, vectors)
            acc = T.sblock_alloc_buffer((slots, dot.acc_lanes), "int32")
            tile = Tile(
                rows=rows,
                vectors=vectors,
                groups=self._steps,
                unroll=tiles.unroll,
                acc=acc,
                a=lambda k, first, rows: panel.vload([j, k, first * dot.group], f"{dot.a_dtype}x{rows * dot.group}"),
                weights=lambda vector, k, start, size: w.vload([block + vector, k, start], f"int8x{size}"),
            )
            dot.multiply(tile)
            channel = block * dot.lanes
            sink = epilogue if codes is None else replace(epilogue, out=codes)
            out_row = row if codes is None else j * tiles.rows
            if ragged:
                sink.write_tail(dot, tile, row, channel, out_row)
            else:
                sink.write(dot, tile, row, channel, out_row, vectors * dot.lanes // dot.acc_lanes)

    def _look_up(self, epilogue: Epilogue, codes: Any, j: Expr, row: Expr, rows: int) -> None:
        """out = table[code + 128] for a tile's rows."""
        lanes, n = LEVELS[self.isa].look_lanes, self.shape.n
        with T.serial(0, rows) as r:
            source = j * self.tiles.rows + r
            whole = n // lanes if lanes else 0
            if whole:
                with T.serial(0, whole) as i:
                    index = T.reinterpret(codes.vload([source, i * lanes], f"int8x{lanes}"), dtype=f"uint8x{lanes}")
                    index = T.bitwise_xor(index, T.broadcast(tirx.const(128, "uint8"), lanes))
                    found = LEVELS[self.isa].look_up(epilogue.table, index)
                    T.buffer_store(epilogue.out, found, [row + r, ramp(i * lanes, lanes)])
            with T.serial(whole * lanes, n) as i:
                found = epilogue.table[T.Cast("int32", codes[source, i]) + 128]
                T.buffer_store(epilogue.out, found, [row + r, i])


def _row_tiles(runs: list[Run]) -> Iterator[tuple[Expr, Expr, int]]:
    """(number, first row, rows) of each row tile: a loop for every run."""
    done: Expr | int = 0
    for run in runs:
        with T.serial(0, run.tiles) as j:
            yield done + j, run.first + j * run.rows, run.rows
        done = done + run.tiles
