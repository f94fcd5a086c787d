"""Products of two computed matrices of codes, many at once; right ones are packed like weights, as attention's factors are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.emit import function, pick
from lampq_tvm.kernels.factor import Factor, Sums, row_tiles
from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.kernels.panel import BYTES, lay_out, panel_shape
from lampq_tvm.kernels.rows import put
from lampq_tvm.kernels.threads import Own, each_thread, hooks
from lampq_tvm.kernels.tiles import Tiles

BITS = 8
UNSIGNED = -128  # the code of zero of operands that are never negative


@dataclass(frozen=True)
class MatMulShape:
    """So many pairs of a matrix [rows, depth] and one [depth, columns].

    Attributes:
        transposed: the right ones are stored as [columns, depth].
        zero: the left ones' code of zero, 0 or `UNSIGNED`.
    """

    pairs: int
    rows: int
    columns: int
    depth: int
    transposed: bool = False
    zero: int = 0

    @property
    def key(self) -> str:
        """Short text that names the shape (`matmul_b4_m197_n197_k48_t_u`)."""
        marks = f"{'_t' if self.transposed else ''}{'_u' if self.zero else ''}"
        return f"matmul_b{self.pairs}_m{self.rows}_n{self.columns}_k{self.depth}{marks}"

    @property
    def right(self) -> tuple[int, int]:
        """Shape of all right matrices, one below the other."""
        each, width = (self.columns, self.depth) if self.transposed else (self.depth, self.columns)
        return self.pairs * each, width


def right_factor(shape: MatMulShape, isa: str) -> tuple[Factor, int]:
    """(the right matrix as a factor; what is added to the left one's codes before they are multiplied)."""
    level, peak = LEVELS[isa], 1 << (BITS - 1)
    if shape.zero == UNSIGNED:
        dot = level.unsigned_dot(peak, level.head_side)
        added = 0 if dot.a_dtype == "int8" else -UNSIGNED
    else:
        dot = level.dot(peak, BITS, level.head_side)
        added = dot.shift
    return Factor(dot, shape.columns, shape.depth, shape.zero + added), added


def matmul_tiles(shape: MatMulShape, isa: str) -> Tiles:
    """Sizes for any shape: those with the fewest multiply-adds and loads, rows computed twice included."""
    return row_tiles(shape.rows, [right_factor(shape, isa)[0]], LEVELS[isa].data)


def build_matmul(shape: MatMulShape, isa: str) -> PrimFunc:
    """The kernel for any shape.

    Arguments of the function, in order: a [pairs * rows, depth] int8; b [pairs * depth, columns], or [pairs * columns, depth]
    where it is transposed, int8; S [1] f32; out [pairs * rows, columns] f32.
    """

    def body(a: Any, b: Any, scale: Any, out: Any) -> None:
        _MatMul(shape, isa, *right_factor(shape, isa), matmul_tiles(shape, isa), a, b, scale, out).write()

    arguments = [
        ("a", (shape.pairs * shape.rows, shape.depth), "int8"),
        ("b", shape.right, "int8"),
        ("S", (1,), "float32"),
        ("out", (shape.pairs * shape.rows, shape.columns), "float32"),
    ]
    return function("matmul", arguments, body)


@dataclass(frozen=True)
class _MatMul:
    """The kernel's builder; the last arguments are those of the function."""

    shape: MatMulShape
    isa: str
    factor: Factor
    added: int
    tiles: Tiles
    a: Any
    b: Any
    scale: Any
    out: Any

    def write(self) -> None:
        """Right matrices are packed, then tiles of rows multiplied."""
        shape, factor, level = self.shape, self.factor, LEVELS[self.isa]
        parts = shape.columns // BYTES if shape.columns % BYTES == 0 else 1
        packed = T.sblock_alloc_buffer((shape.pairs, *factor.packed), factor.dot.weight_dtype)
        fix = T.sblock_alloc_buffer((shape.pairs, factor.padded[0]), "int32")
        pack = factor.pack_rows if shape.transposed else factor.pack_columns
        with hooks(level, shape.pairs * parts), T.parallel(0, shape.pairs * parts) as job:
            pair, part = job // parts, job % parts
            pack(self.b, pair * (shape.columns if shape.transposed else shape.depth), 0, packed, pair, part, parts)
            factor.correct(packed, fix, pair, part, parts)
        rows = self.tiles.rows
        tiles = -(-shape.rows // rows)
        panel = Own(panel_shape(factor.dot, 1, rows, factor.packed[1]), factor.dot.a_dtype)
        with each_thread(level, shape.pairs * tiles, panel) as (own,), T.parallel(0, shape.pairs * tiles) as job:
            row = tirx.min(job % tiles * rows, tirx.const(shape.rows - rows, "int32"))
            self._job(job // tiles, job // tiles * shape.rows + row, packed, fix, own)

    def _job(self, pair: Expr, first: Expr, packed: Any, fix: Any, own: Any) -> None:
        """A tile of rows of one pair times every column."""
        rows, factor = self.tiles.rows, self.factor
        lay_out(factor.dot, own, 0, self.a, first, 0, rows, self.shape.depth, self.added)
        sizes = rows, min(self.tiles.vectors, factor.packed[0]), self.tiles.unroll

        def store(sums: Sums, column: Expr, columns: int) -> None:
            for r, totals in enumerate(sums):
                self._store(totals, first + r, column, columns)

        factor.multiply(own, packed, fix, pair, sizes, store)

    def _store(self, totals: list[Expr], row: Expr, column: Expr, columns: int) -> None:
        """out = fl(fl(acc) * S) for a register tile's row, of the columns that exist."""
        lanes = self.factor.dot.acc_lanes
        scale = T.broadcast(self.scale[0], lanes)
        values = [T.Bind(T.Cast(f"float32x{lanes}", total) * scale) for total in totals]
        whole, rest = divmod(columns, lanes)
        put(self.out, values[:whole], column, lanes, row)
        if rest:
            put(self.out, [pick([values[whole]], list(range(rest)))], column + whole * lanes, rest, row)
