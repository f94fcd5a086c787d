"""LayerNorm and RMSNorm in the arithmetic table's order: 32 strided lanes, halves added, centred and squared by fma."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.emit import argument
from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.kernels.isa.level import Level
from lampq_tvm.kernels.rows import put, read, spans, spread
from lampq_tvm.kernels.sink import CodeSink, sink_argument
from lampq_tvm.kernels.sums import LANES, StridedSums
from lampq_tvm.kernels.tiles import Tiles

SUMS = 8


def layernorm_tiles(rows: int, isa: str) -> Tiles:
    """Sizes without tuning: rows side by side whose sums fill eight registers, so that no addition waits for the one before."""
    return Tiles(min(rows, max(1, SUMS * LEVELS[isa].lanes // LANES)), 1)


def build_layernorm(
    rows: int,
    channels: int,
    eps: float,
    to_codes: bool,
    isa: str,
    tiles: Tiles | None = None,
    *,
    table: bool = False,
    centred: bool = True,
) -> PrimFunc:
    """The kernel for any rows and channels; the last rows side by side are moved up to end with the last row.

    Arguments of the function, in order: x [rows, C] f32; G, B [C] f32; range [2] f32 (unused without codes), or `table` [256]
    int8; out [rows, C], int8 codes sat(rne(fma(c * r, G, B))), what the table has for them, or f32 values fma(c * r, G, B).
    Where it is not `centred`, c is x.
    """
    tiles = tiles or layernorm_tiles(rows, isa)
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("layernorm")
            T.func_attr({"tirx.noalias": True})
            norm = _LayerNorm(
                LEVELS[isa],
                channels,
                eps,
                centred,
                tiles,
                x=argument("x", (rows, channels), "float32"),
                gamma=argument("G", (channels,), "float32"),
                beta=argument("B", (channels,), "float32"),
                encode=argument(*sink_argument(table=table)),
                out=argument("out", (rows, channels), "int8" if to_codes else "float32"),
            )
            with T.sblock("root"):
                T.reads()
                T.writes()
                sink = CodeSink.of(norm.level, norm.out, norm.encode, table=table) if to_codes else None
                with T.parallel(0, -(-rows // tiles.rows)) as job:
                    norm.write(sink, tirx.min(job * tiles.rows, tirx.const(rows - tiles.rows, "int32")))
        return builder.get()


@dataclass(frozen=True)
class _LayerNorm:
    """The kernel's builder; the arguments are those of the function."""

    level: Level
    channels: int
    eps: float
    centred: bool
    tiles: Tiles
    x: Any
    gamma: Any
    beta: Any
    encode: Any
    out: Any

    def write(self, sink: CodeSink | None, first: Expr) -> None:
        """Write the rows from `first`, as floats without a sink: their sums, the sums of the centred squares, their output."""
        share = tirx.const(1.0, "float32") / tirx.const(float(self.channels), "float32")
        rows = [first + r for r in range(self.tiles.rows)]
        ordered = StridedSums(self.level, self.channels, len(rows), self.tiles.unroll)
        with T.sblock("rows"):
            T.reads()
            T.writes()
            sums, squares = ordered.allocate(), ordered.allocate()
            scalars = T.sblock_alloc_buffer((len(rows), 3), "float32")
            for r in range(len(rows)):
                T.buffer_store(scalars, share, [r, 2])
            if self.centred:
                ordered.add(sums, lambda c, n, r, total: total + read(self.x, c, n, rows[r]))
                for r in range(len(rows)):
                    T.buffer_store(scalars, ordered.across(sums, r), [r, 0])

            def centred(c: Expr, n: int, r: int) -> Expr:
                if not self.centred:
                    return read(self.x, c, n, rows[r])
                minus = tirx.const(-1.0, "float32") * scalars[r, 2]
                return T.fma(spread(minus, n), spread(scalars[r, 0], n), read(self.x, c, n, rows[r]))

            ordered.add(squares, lambda c, n, r, total: T.fma(centred(c, n, r), centred(c, n, r), total))
            for r in range(len(rows)):
                variance = T.fma(ordered.across(squares, r), scalars[r, 2], tirx.const(self.eps, "float32"))
                T.buffer_store(scalars, tirx.const(1.0, "float32") / T.sqrt(variance), [r, 1])

            def value(c: Expr, n: int, r: int) -> Expr:
                scaled = centred(c, n, r) * spread(scalars[r, 1], n)
                return T.fma(scaled, read(self.gamma, c, n), read(self.beta, c, n))

            for c, count, lanes in spans(self.channels, self.level.lanes, LANES // self.level.lanes, self.tiles.unroll):
                for r, row in enumerate(rows):
                    values = [value(c + i * lanes, lanes, r) for i in range(count)]
                    if sink is not None:
                        sink.put(values, c, lanes, row)
                    else:
                        put(self.out, values, c, lanes, row)
