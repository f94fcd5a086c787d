"""Rows to rows of the same shape: sums and means of two, codes of one, look-ups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.emit import function
from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.kernels.rows import put, read, spans, spread
from lampq_tvm.kernels.sink import CodeSink, sink_argument
from lampq_tvm.kernels.table import Table

VECTORS = 4


def build_add(rows: int, channels: int, isa: str) -> PrimFunc:
    """fl(a + b) of a, b [rows, C] f32; the output may be a or b itself."""
    return _of_two("add", rows, channels, isa, lambda a, b, lanes: a + b)


def build_average(rows: int, channels: int, isa: str) -> PrimFunc:
    """fl(fl(a + b) * 0.5) of a, b [rows, C] f32."""
    return _of_two("average", rows, channels, isa, lambda a, b, lanes: (a + b) * spread(tirx.const(0.5, "float32"), lanes))


def _of_two(name: str, rows: int, channels: int, isa: str, combine: Callable[[Expr, Expr, int], Expr]) -> PrimFunc:
    shape = (rows, channels)

    def body(a: Any, b: Any, out: Any) -> None:
        with T.parallel(0, rows) as row:
            for c, count, lanes in spans(channels, LEVELS[isa].lanes, VECTORS):
                places = [c + i * lanes for i in range(count)]
                sums = [T.Bind(combine(read(a, at, lanes, row), read(b, at, lanes, row), lanes)) for at in places]
                put(out, sums, c, lanes, row)

    return function(name, [(each, shape, "float32") for each in ("a", "b", "out")], body, apart=False)


def build_to_codes(rows: int, channels: int, isa: str, *, table: bool = False) -> PrimFunc:
    """Float to codes: x [rows, C] f32, affine [2] f32 (1/s, z), range [2] f32 to sat(rne(fma(x, 1/s, z))) int8.

    With a table [256] int8 in place of the range, to what it has for them.
    """
    level, shape = LEVELS[isa], (rows, channels)

    def body(x: Any, affine: Any, encode: Any, out: Any) -> None:
        sink = CodeSink.of(level, out, encode, table=table)
        with T.parallel(0, rows) as row:
            for c, count, lanes in spans(channels, level.lanes, level.code_vectors):
                scale, zero = (spread(affine[i], lanes) for i in range(2))
                values = [T.fma(read(x, c + i * lanes, lanes, row), scale, zero) for i in range(count)]
                sink.put(values, c, lanes, row)

    arguments = [("x", shape, "float32"), ("affine", (2,), "float32"), sink_argument(table=table), ("out", shape, "int8")]
    return function("to_codes", arguments, body)


def build_look_up(rows: int, channels: int, isa: str) -> PrimFunc:
    """table[code + 128] of codes x [rows, C] int8; table [256] int8, out [rows, C] int8."""
    level, shape = LEVELS[isa], (rows, channels)

    def body(x: Any, table: Any, out: Any) -> None:
        entries = Table.of(level, table)
        with T.parallel(0, rows) as row:
            for c, count, lanes in spans(channels, level.look_lanes or level.byte_lanes, VECTORS):
                places = [c + i * lanes for i in range(count)]
                put(out, [entries.of_codes(read(x, at, lanes, row), lanes) for at in places], c, lanes, row)

    return function("look_up", [("x", shape, "int8"), ("table", (256,), "int8"), ("out", shape, "int8")], body)
