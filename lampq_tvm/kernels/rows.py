"""Work along a row's channels: blocks of vectors in a loop, then single vectors, then one channel after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import ramp, steps
from lampq_tvm.kernels.isa.level import Level

Span = tuple[Expr, int, int]  # first channel, vectors, lanes of each


def spans(channels: int, lanes: int, vectors: int, unroll: int = 1) -> Iterator[Span]:
    """Every channel once.

    Args:
        lanes, vectors: of a block; what is left of a row is one block of fewer vectors, then single lanes.
        unroll: blocks that are written out in the loop's body.
    """
    block = lanes * vectors
    whole, rest = divmod(channels, block)
    for i in steps(whole, unroll):
        yield i * block, vectors, lanes
    if rest >= lanes:
        yield tirx.const(whole * block, "int32"), rest // lanes, lanes
    if channels % lanes:
        with T.serial(channels // lanes * lanes, channels) as c:
            yield c, 1, 1


def lanes_of(dtype: str, lanes: int) -> str:
    """A vector's type, or a scalar's."""
    return f"{dtype}x{lanes}" if lanes > 1 else dtype


def read(buffer: Any, first: Expr | int, lanes: int, *row: Expr | int) -> Expr:
    """Neighbouring channels of a buffer [.., channels], a scalar where it is one."""
    return buffer.vload([*row, first], f"{buffer.dtype}x{lanes}") if lanes > 1 else buffer[(*row, first)]


def spread(value: Expr, lanes: int) -> Expr:
    """A scalar in every lane."""
    return T.broadcast(value, lanes) if lanes > 1 else value


def put(out: Any, values: list[Expr], first: Expr | int, lanes: int, *row: Expr | int) -> None:
    """out[row, first..] = the values, one after another."""
    for i, value in enumerate(values):
        at = first + i * lanes
        T.buffer_store(out, value, [*row, ramp(at, lanes) if lanes > 1 else at])


def codes(
    level: Level, values: list[Expr], low: Expr, high: Expr, lanes: int, *, signed: bool = True
) -> Iterator[tuple[int, int, Expr]]:
    """sat(rne(v)) of neighbouring float32 vectors, or of one scalar, as bytes: (first lane, lanes, codes)."""
    if lanes > 1:
        yield from level.narrow(values, low, high, signed=signed)
        return
    (value,) = values
    yield 0, 1, T.Cast("int8" if signed else "uint8", T.round(tirx.min(tirx.max(value, low), high)))
