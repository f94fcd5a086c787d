"""Rotary embedding of q and k, to codes, and v to codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.emit import function, pick
from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.kernels.rows import read, spans, spread
from lampq_tvm.kernels.sink import CodeSink, sink_argument

TURNED = 4  # vectors turned at once: theirs and their angles fit into registers


def build_rotary(rows: int, tokens: int, heads: int, partner: Sequence[int], isa: str, *, table: bool = False) -> PrimFunc:
    """code = sat(rne(u * inv)), u = fma(x[c], cos[t, c], fl(x[partner[c]] * sin[t, c])); row r is token r % tokens.

    Arguments: qkv [rows, 3 * heads * head_dim] f32; cos, sin [tokens, head_dim] f32; inv [3, heads] f32; range [2] f32, or
    with `table` table [256] int8, which is looked up at the code + 128; out int8 of qkv's shape.

    Args:
        partner: the channel of its head that each channel of a head is turned with.
    """
    level, head_dim = LEVELS[isa], len(partner)
    channels = heads * head_dim

    def body(qkv: Any, cos: Any, sin: Any, inv: Any, constant: Any, out: Any) -> None:
        sink = CodeSink.of(level, out, constant, table=table)

        def turn(row: Expr, c: int, count: int, lanes: int) -> None:
            """Write these channels of every head of q and k: their angles stay in registers."""
            places = [c + i * lanes for i in range(count)]
            angles = [[T.Bind(read(x, at, lanes, row % tokens)) for x in (cos, sin)] for at in places]
            with T.serial(0, 2) as part, T.serial(0, heads) as head:
                first, values = part * channels + head * head_dim, []
                for at, (cosine, sine) in zip(places, angles, strict=True):
                    other = _gather(qkv, row, first, partner[at : at + lanes])
                    values.append(T.fma(read(qkv, first + at, lanes, row), cosine, other * sine))
                scale = spread(inv[part, head], lanes)  # fma(x, inv, 0) is x * inv, but for the sign of a zero
                sink.put([value * scale for value in values], first + c, lanes, row)

        with T.parallel(0, rows) as row:
            whole, block = head_dim // level.lanes * level.lanes, level.lanes * TURNED
            for c in range(0, whole, block):
                turn(row, c, min(block, whole - c) // level.lanes, level.lanes)
            for c in range(whole, head_dim):
                turn(row, c, 1, 1)
            with T.serial(0, heads) as head:
                first = 2 * channels + head * head_dim
                for at, count, lanes in spans(head_dim, level.lanes, level.code_vectors):
                    values = [read(qkv, first + at + i * lanes, lanes, row) for i in range(count)]
                    scaled = [value * spread(inv[2, head], lanes) for value in values]
                    sink.put(scaled, first + at, lanes, row)

    angles = [(name, (tokens, head_dim), "float32") for name in ("cos", "sin")]
    scales = [("inv", (3, heads), "float32"), sink_argument(table=table)]
    whole = (rows, 3 * channels)
    return function("rotary", [("qkv", whole, "float32"), *angles, *scales, ("out", whole, "int8")], body)


def _gather(x: Any, row: Expr, first: Expr, places: Sequence[int]) -> Expr:
    """x[row, first + places[i]] in lane i: shuffled from one or two aligned vectors, else lane by lane."""
    lanes = len(places)
    blocks = sorted({place // lanes for place in places})
    if lanes == 1 or len(blocks) > 2:
        return pick([x[row, first + place] for place in places], list(range(lanes))) if lanes > 1 else x[row, first + places[0]]
    vectors = [read(x, first + block * lanes, lanes, row) for block in blocks]
    return pick(vectors, [blocks.index(place // lanes) * lanes + place % lanes for place in places])
