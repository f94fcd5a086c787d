"""Tokens moved as they are: windows cut and joined, prefix tokens put in front, one token taken."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.emit import function
from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.kernels.isa.level import Level
from lampq_tvm.kernels.rows import put, read, spans, spread

VECTORS = 4


def build_regroup(batch: int, rows: int, taken: int, parts: int, channels: int, dtype: str, isa: str) -> PrimFunc:
    """Row r of an image's output is, part after part, the row index[r, part] of its input, or `fill` where that is -1.

    Arguments: x [batch * rows, C]; index [taken, parts] int32; fill [1]; out [batch * taken, parts * C], of `dtype` but the
    index.
    """

    def body(x: Any, index: Any, fill: Any, out: Any) -> None:
        with T.parallel(0, batch * taken) as row, T.serial(0, parts) as part, T.If(index[row % taken, part] < 0):
            with T.Then():
                for c, count, lanes in spans(channels, _lanes(LEVELS[isa], dtype), VECTORS):
                    put(out, [spread(fill[0], lanes)] * count, part * channels + c, lanes, row)
            with T.Else():
                source = row // taken * rows + index[row % taken, part]
                _copy(LEVELS[isa], x, source, out, row, part * channels, channels)

    arguments = [("x", (batch * rows, channels), dtype), ("index", (taken, parts), "int32"), ("fill", (1,), dtype)]
    return function("regroup", [*arguments, ("out", (batch * taken, parts * channels), dtype)], body)


def build_prepend(batch: int, prefix: int, tokens: int, channels: int, isa: str) -> PrimFunc:
    """Prefix rows before each image's tokens: tokens [B * T, C] f32, prefix [P, C] f32 to [B * (P + T), C] f32."""
    every = prefix + tokens

    def body(x: Any, first: Any, out: Any) -> None:
        with T.parallel(0, batch * every) as row:
            place = row % every
            with T.If(place < prefix):
                with T.Then():
                    _copy(LEVELS[isa], first, place, out, row, 0, channels)
                with T.Else():
                    _copy(LEVELS[isa], x, row // every * tokens + place - prefix, out, row, 0, channels)

    shapes = {"x": (batch * tokens, channels), "prefix": (prefix, channels), "out": (batch * every, channels)}
    return function("prepend", [(name, shape, "float32") for name, shape in shapes.items()], body)


def build_take_token(batch: int, tokens: int, channels: int, index: int, isa: str) -> PrimFunc:
    """Token `index` of each image: x [B * T, C] f32 to [B, C] f32."""

    def body(x: Any, out: Any) -> None:
        with T.parallel(0, batch) as row:
            _copy(LEVELS[isa], x, row * tokens + index, out, row, 0, channels)

    arguments = [("x", (batch * tokens, channels), "float32"), ("out", (batch, channels), "float32")]
    return function("take_token", arguments, body)


def _copy(level: Level, source: Any, row: Expr, out: Any, to: Expr, first: Expr | int, channels: int) -> None:
    """out[to, first..] = source[row]."""
    for c, count, lanes in spans(channels, _lanes(level, str(source.dtype)), VECTORS):
        put(out, [T.Bind(read(source, c + i * lanes, lanes, row)) for i in range(count)], first + c, lanes, to)


def _lanes(level: Level, dtype: str) -> int:
    """Elements of a register."""
    return level.lanes * 4 // np.dtype(dtype).itemsize
