"""Gated activation (SwiGLU): a table's value times another one."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.emit import function
from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.kernels.rows import codes, lanes_of, put, read, spans, spread

VECTORS = 4


def build_gate(rows: int, gates: int, values: int, gate_at: int, value_at: int, width: int, isa: str) -> PrimFunc:
    """fl(table[sat(rne(g)) + 128] * x) of columns of g [rows, gates] and x [rows, values] f32; table [256], out f32.

    The output may be g or x itself where all of its columns are taken.
    """
    level = LEVELS[isa]
    low, high = (tirx.const(bound, "float32") for bound in (-128.0, 127.0))

    def body(g: Any, x: Any, table: Any, out: Any) -> None:
        with T.parallel(0, rows) as row:
            for c, count, lanes in spans(width, level.lanes, VECTORS):
                vectors = [read(g, gate_at + c + i * lanes, lanes, row) for i in range(count)]
                for at, size, found in codes(level, vectors, low, high, lanes):
                    index = T.Cast(lanes_of("int32", size), found) + spread(tirx.const(128, "int32"), size)
                    put(out, [table[index] * read(x, value_at + c + at, size, row)], c + at, size, row)

    arguments = [("g", (rows, gates), "float32"), ("x", (rows, values), "float32"), ("table", (256,), "float32")]
    return function("gate", [*arguments, ("out", (rows, width), "float32")], body, apart=False)
