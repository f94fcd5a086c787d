"""q and k over their lengths, to codes (cosine attention), and v to codes."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.emit import function
from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.kernels.rows import read, spans, spread
from lampq_tvm.kernels.sink import CodeSink, sink_argument
from lampq_tvm.kernels.sums import LANES, StridedSums


def build_unit_heads(rows: int, heads: int, head_dim: int, eps: float, isa: str, *, table: bool = False) -> PrimFunc:
    """code = sat(rne(fl(x * fl(1 / max(length, eps))) * inv)), head by head; v without the length.

    Arguments: qkv [rows, 3 * heads * head_dim] f32; inv [3, heads] f32; range [2] f32, or with `table` table
    [256] int8, which is looked up at the code + 128; out int8 of qkv's shape.
    """
    level, channels = LEVELS[isa], heads * head_dim
    unroll = max(1, head_dim // LANES)
    sums = StridedSums(level, head_dim, 1, unroll)

    def body(qkv: Any, inv: Any, constant: Any, out: Any) -> None:
        sink = CodeSink.of(level, out, constant, table=table)

        def codes(row: Expr, first: Expr, scales: list[Expr]) -> None:
            # fma(x, inv, 0) is x * inv, but for the sign of a zero.
            for c, count, lanes in spans(head_dim, level.lanes, level.code_vectors, unroll):
                values = [read(qkv, first + c + i * lanes, lanes, row) for i in range(count)]
                for scale in scales:
                    values = [value * spread(scale, lanes) for value in values]
                sink.put(values, first + c, lanes, row)

        with T.parallel(0, rows) as row:
            with T.serial(0, 2 * heads) as head, T.sblock("head"):
                T.reads()
                T.writes()
                first = head * head_dim
                squares = sums.allocate()

                def add(c: Expr, n: int, number: int, total: Expr) -> Expr:
                    x = read(qkv, first + c, n, row)
                    return T.fma(x, x, total)

                sums.add(squares, add)
                length = tirx.max(T.sqrt(sums.across(squares, 0)), tirx.const(eps, "float32"))
                codes(row, first, [T.Bind(tirx.const(1.0, "float32") / length), inv[head // heads, head % heads]])
            with T.serial(0, heads) as head:
                codes(row, 2 * channels + head * head_dim, [inv[2, head]])

    arguments = [("qkv", (rows, 3 * channels), "float32"), ("inv", (3, heads), "float32"), sink_argument(table=table)]
    return function("unit_heads", [*arguments, ("out", (rows, 3 * channels), "int8")], body)
