"""Float32 kernels: what the integer ones are compared with where a time budget is a share of the float model's.

Products in register tiles over packed weights, and the unary pieces of attention and activations; nothing of them ships.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.emit import function, pick, ramp, steps
from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.kernels.registers import Registers
from lampq_tvm.kernels.rows import put, read, spans
from lampq_tvm.kernels.shapes import round_up

VECTORS = 2  # of a register tile
ROWS = {4: 8, 8: 6, 16: 12}  # of a register tile, by float lanes: as many sums as registers hold beside their operands
DEPTH = 4  # inputs that are taken at once
UNROLL = 2
# exp(x) = 2^n exp(r), n = rne(x / ln 2): Taylor's series of the rest, |r| <= ln(2) / 2, is off by 2e-6 of it at most.
TERMS = (1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0)
LOWEST, HIGHEST = -87.0, 88.0  # exp beyond them is no normal float32
CURVE = -1.702  # gelu(x) = x / (1 + exp(-1.702 x)), near enough for its cost


@dataclass(frozen=True)
class FloatShape:
    """`count` products [rows, k] x [k, n] beside each other, with weights of their own or, `shared`, the same ones."""

    count: int
    rows: int
    n: int
    k: int
    shared: bool = False


def build_float_product(shape: FloatShape, isa: str) -> PrimFunc:
    """out[i, m, n] = B[n] + sum_k A[i, m, k] W[i, n, k].

    Arguments: A [count, rows, K], W [count or 1, N / width, K, width], B [N], out [count, rows, N], float32; N is padded to
    the width of a register tile, K to a multiple of four.
    """
    lanes = LEVELS[isa].lanes
    width = lanes * VECTORS
    n, k, high = round_up(shape.n, width), round_up(shape.k, DEPTH), min(ROWS[lanes], shape.rows)
    tiles, weights = -(-shape.rows // high), 1 if shape.shared else shape.count

    def body(a: Any, w: Any, bias: Any, out: Any) -> None:
        with T.parallel(0, shape.count * tiles) as job:
            image = job // tiles
            first = tirx.min(job % tiles * high, tirx.const(shape.rows - high, "int32"))
            with T.serial(0, n // width) as column, T.sblock("tile"):
                T.reads()
                T.writes()
                own = tirx.const(0, "int32") if shape.shared else image
                acc = Registers(high * VECTORS, lanes, "float32")
                for slot in range(high * VECTORS):
                    acc.store(slot, read(bias, column * width + slot % VECTORS * lanes, lanes))
                for step in steps(k // DEPTH, UNROLL):
                    inputs = [_inputs(a, lanes, image, first + r, step * DEPTH) for r in range(high)]
                    for d in range(DEPTH):
                        vectors = [T.Bind(read(w, v * lanes, lanes, own, column, step * DEPTH + d)) for v in range(VECTORS)]
                        for slot in range(high * VECTORS):
                            factor = inputs[slot // VECTORS](d)
                            acc.store(slot, T.fma(factor, vectors[slot % VECTORS], acc.load(slot)))
                for slot in range(high * VECTORS):
                    at = column * width + slot % VECTORS * lanes
                    T.buffer_store(out, acc.load(slot), [image, first + slot // VECTORS, ramp(at, lanes)])

    arguments = [
        ("A", (shape.count, shape.rows, k), "float32"),
        ("W", (weights, n // width, k, width), "float32"),
        ("B", (n,), "float32"),
        ("out", (shape.count, shape.rows, n), "float32"),
    ]
    return function("float_product", arguments, body)


def _inputs(a: Any, lanes: int, image: Expr, row: Expr, k: Expr) -> Callable[[int], Expr]:
    """Neighbouring inputs of a row, each in every lane: out of a register where the multiply-add takes a lane of one."""
    if lanes == DEPTH:
        vector = T.Bind(a.vload([image, row, k], f"float32x{DEPTH}"))
        return lambda d: T.broadcast(pick([vector], [d]), lanes)
    return lambda d: T.broadcast(a[image, row, k + d], lanes)


def build_float_unary(kind: str, rows: int, channels: int, isa: str) -> PrimFunc:
    """x [rows, C] to x / (1 + exp(-1.702 x)), or for `relu` to max(x, 0); float32."""

    def value(x: Expr, lanes: int) -> Expr:
        if kind == "relu":
            return tirx.max(x, _constant(0.0, lanes))
        turned = tirx.min(x * _constant(CURVE, lanes), _constant(HIGHEST, lanes))
        return x / (_constant(1.0, lanes) + _exp(turned, lanes))

    def body(x: Any, out: Any) -> None:
        with T.parallel(0, rows) as row:
            for c, count, lanes in spans(channels, LEVELS[isa].lanes, VECTORS):
                places = [c + i * lanes for i in range(count)]
                put(out, [T.Bind(value(read(x, at, lanes, row), lanes)) for at in places], c, lanes, row)

    return function("float_unary", [(name, (rows, channels), "float32") for name in ("x", "out")], body)


def build_float_softmax(rows: int, tokens: int, isa: str) -> PrimFunc:
    """Softmax of x [rows, tokens], tokens padded to whole vectors; float32."""
    lanes = LEVELS[isa].lanes
    width = round_up(tokens, lanes)

    def body(x: Any, out: Any) -> None:
        with T.parallel(0, rows) as row, T.sblock("row"):
            T.reads()
            T.writes()
            kept = T.sblock_alloc_buffer((2, lanes), "float32")

            def every(run: Callable[[Expr], None]) -> None:
                with T.serial(0, width // lanes) as i:
                    run(i * lanes)

            def keep(slot: int, value: Expr) -> None:
                T.buffer_store(kept, value, [slot, ramp(0, lanes)])

            def held(slot: int) -> Expr:
                return kept.vload([slot, 0], f"float32x{lanes}")

            def weigh(at: Expr) -> None:
                found = T.Bind(_exp(read(x, at, lanes, row) - held(0), lanes))
                put(out, [found], at, lanes, row)
                keep(1, held(1) + found)

            keep(0, _constant(-math.inf, lanes))
            every(lambda at: keep(0, tirx.max(held(0), read(x, at, lanes, row))))
            keep(0, T.broadcast(_across(held(0), lanes, tirx.max), lanes))
            keep(1, _constant(0.0, lanes))
            every(weigh)
            keep(1, T.broadcast(tirx.const(1.0, "float32") / _across(held(1), lanes, lambda a, b: a + b), lanes))
            every(lambda at: put(out, [read(out, at, lanes, row) * held(1)], at, lanes, row))

    return function("float_softmax", [(name, (rows, width), "float32") for name in ("x", "out")], body)


def _constant(value: float, lanes: int) -> Expr:
    return T.broadcast(tirx.const(value, "float32"), lanes) if lanes > 1 else tirx.const(value, "float32")


def _across(value: Expr, lanes: int, combine: Callable[[Expr, Expr], Expr]) -> Expr:
    """All lanes of a vector combined, by halves."""
    while lanes > 1:
        lanes //= 2
        value = combine(pick([value], list(range(lanes))), pick([value], list(range(lanes, 2 * lanes))))
    return value


def _exp(x: Expr, lanes: int) -> Expr:
    """exp(x), near 0 below `LOWEST`; x is at most `HIGHEST`."""
    x = tirx.max(x, _constant(LOWEST, lanes))
    n = T.round(x * _constant(1 / math.log(2), lanes))
    rest = T.fma(n, _constant(-math.log(2), lanes), x)
    value = _constant(TERMS[0], lanes)
    for term in TERMS[1:]:
        value = T.fma(value, rest, _constant(term, lanes))
    suffix = f"x{lanes}" if lanes > 1 else ""
    one, shift = (tirx.const(c, "int32") if lanes == 1 else T.broadcast(tirx.const(c, "int32"), lanes) for c in (127, 23))
    power = T.reinterpret(T.shift_left(T.Cast(f"int32{suffix}", n) + one, shift), dtype=f"float32{suffix}")
    return value * power
