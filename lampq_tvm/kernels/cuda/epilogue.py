"""What becomes of a product's sums: codes, a table's codes, float16 values, or float32 onto a stream."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import Threads, argument, f32, i32, move, put, registers, when
from lampq_tvm.kernels.cuda.half import activate
from lampq_tvm.kernels.cuda.mma import COLUMNS, ROWS, Mma
from lampq_tvm.kernels.cuda.sink import CodeRows, CodeSink, Table
from lampq_tvm.kernels.cuda.turned import Turned, Turning
from lampq_tvm.kernels.shapes import ProductShape, round_up
from lampq_tvm.kinds import Kind

CODED = ("codes", "table", "act", "turned")  # epilogues that pack their values
PIECES = (8, 4, 2, 1)  # neighbours that are written at a time
Halves = list[tuple[int, int]]  # tiles of 16 rows, and which 8 rows of them


@dataclass(frozen=True)
class Epilogue:
    """The epilogue's buffers, those that its kind does not have None; `size` neighbours of a row are written at a time.

    `kind` is that of the codes in memory.
    """

    shape: ProductShape
    kind: Kind
    prefix: int
    act: str
    size: int
    scale: Any
    shift: Any
    affine: Any
    bounds: Any
    added: Any
    table: Table | None
    turned: Turned | None
    out: Any

    @classmethod
    def arguments(
        cls, shape: ProductShape, kind: Kind, prefix: int, act: str, turning: Turning | None, columns: int, *, table: bool
    ) -> Epilogue:
        """Declare the kernel's remaining buffers, in the order of `build_product`; `columns` are those of a warp's tile."""
        last, floats = shape.epilogue, kind.is_float
        scale, shift = (argument(name, (shape.n,), "float32") for name in ("S", "B"))
        affine = argument("affine", (2,), "float32") if last == "act" and (table or not floats) else None
        bounds = argument("range", (2,), "float32") if last in CODED and not table and not floats else None
        turned = None if turning is None else Turned.declare(turning)
        entries = Table.declare(kind) if table else None
        added = argument("pos", (shape.period, shape.n), "float32") if last == "stream" else None
        rows = shape.rows + (shape.rows // shape.period * prefix if prefix else 0)
        per = columns // 4
        if last in CODED:
            of = per if turning is None else math.gcd(per, turning.head_dim)  # neighbours are of one head
            size = next(size for size in PIECES if of % size == 0)
            out: Any = CodeRows.declare("out", rows, shape.n, kind, size)
        else:
            size = next(size for size in PIECES if per % size == 0 and shape.n % size == 0)
            out = argument("out", (rows, shape.n), "float32")
        added = out if last == "residual" else added
        return cls(shape, kind, prefix, act, size, scale, shift, affine, bounds, added, entries, turned, out)

    def prepare(self, memory: Any, first: int, threads: Threads) -> None:
        """Copy the table of `table` into shared memory, from word `first` on; seen after the next barrier."""
        if self.table is not None and self.shape.epilogue == "table":
            self.table.fill(memory, first, threads)

    def write(self, acc: Any, mma: Mma, corner: tuple[Expr, Expr], columns: int, halves: Halves, lane: Expr) -> None:
        """Write a warp's tile, or some of its rows.

        Args:
            acc: sums of 16 x 8 tiles, row by row, in the registers of `mma`; columns stand in the order of `mma.neighbours`.
            mma: what made them: they come times 2^`shift`.
            corner: row and column at which the warp's tile begins.
            columns: of the warp's tile.
            halves: tiles of 16 rows, and which 8 of them.
        """
        per = columns // 4
        size = self.size
        # Rows of codes are filled up: what follows the last one meets weights of zero, but float16 values must be finite.
        wide = round_up(self.shape.n, 8) if self.shape.epilogue in CODED else self.shape.n
        scale, shift, bounds = (registers(count, "float32") for count in (size, size, 2))
        for i, bound in enumerate((f32(-128), f32(127)) if self.bounds is None else (self.bounds[0], self.bounds[1])):
            put(bounds, i, bound)
        for first in range(0, per, size):
            n = corner[1] + lane % 4 * per + first
            self._load(scale, self.scale, n)
            self._load(shift, self.shift, n)
            for i, half in halves:
                m = corner[0] + i * ROWS + half * 8 + lane // 4
                places = [4 * (i * (columns // COLUMNS) + c // 2) + 2 * half + c % 2 for c in range(first, first + size)]
                with when(T.And(m < self.shape.rows, n < wide)):
                    sums = [_float_sum(acc[place], mma) for place in places]
                    self._write([T.fma(s, scale[x], shift[x]) for x, s in enumerate(sums)], bounds, m, n)

    def _load(self, found: Any, constants: Any, n: Expr) -> None:
        """found[x] = constants[n + x]; beyond the last channel that one again."""
        size = int(found.shape[0])
        if self.shape.n % size:
            for x in range(size):
                put(found, x, constants[tirx.min(n + x, i32(self.shape.n - 1))])
            return
        n = tirx.min(n, i32(self.shape.n - size))
        move(constants, (n,), found, (i32(0),), size)

    def _write(self, values: list[Expr], bounds: Any, m: Expr, n: Expr) -> None:
        """Neighbours of a row."""
        size = len(values)
        if self.shape.epilogue not in CODED:
            line = registers(size, "float32")
            if self.added is not None:
                row = m % self.shape.period if self.shape.epilogue == "stream" else m
                move(self.added, (row, n), line, (i32(0),), size)
            for x, value in enumerate(values):
                put(line, x, value if self.added is None else line[x] + value)
            move(line, (i32(0),), self.out, (self._out_row(m), n), size)
            return
        if self.shape.epilogue == "act":
            values = self._activated(values)
        if self.turned is not None:
            values = self.turned.values(values, m, n)
        self.out.put(m, n, CodeSink(self.kind, bounds, self.table).packed(values))

    def _activated(self, values: list[Expr]) -> list[Expr]:
        """The activation function's values, times 1/s plus z where codes come out."""
        x = registers(len(values), "float32")
        for i, value in enumerate(values):
            put(x, i, value)
            put(x, i, activate(self.act, x[i]))
        return [x[i] if self.affine is None else T.fma(x[i], self.affine[0], self.affine[1]) for i in range(len(values))]

    def _out_row(self, m: Expr) -> Expr:
        """Where a row goes: an image's prefix tokens come before its patches."""
        return m + (m // self.shape.period + 1) * self.prefix if self.prefix else m


def _float_sum(word: Expr, mma: Mma) -> Expr:
    """A sum as float32."""
    if mma.sums == "float32":
        return word
    total = T.reinterpret(word, dtype="int32")
    return T.Cast("float32", T.shift_right(total, i32(mma.shift)) if mma.shift else total)
