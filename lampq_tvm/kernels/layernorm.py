"""LayerNorm in the arithmetic table's order: 32 strided lanes, halves added, centred and squared by fma."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.emit import argument, load, pick, ramp, store
from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.kernels.isa.level import Level

LANES = 32


def build_layernorm(rows: int, channels: int, eps: float, to_codes: bool, isa: str) -> PrimFunc:
    """The kernel for any rows and channels.

    Arguments of the function, in order: x [rows, C] f32; G, B [C] f32; range [2] f32 (unused without codes);
    out [rows, C], int8 codes sat(rne(fma(c * r, G, B))) or f32 values fma(c * r, G, B).
    """
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("layernorm")
            T.func_attr({"tirx.noalias": True})
            norm = _LayerNorm(
                LEVELS[isa],
                channels,
                eps,
                to_codes,
                x=argument("x", (rows, channels), "float32"),
                gamma=argument("G", (channels,), "float32"),
                beta=argument("B", (channels,), "float32"),
                bounds=argument("range", (2,), "float32"),
                out=argument("out", (rows, channels), "int8" if to_codes else "float32"),
            )
            with T.sblock("root"):
                T.reads()
                T.writes()
                with T.parallel(0, rows) as row:
                    norm.row(row)
        return builder.get()


@dataclass(frozen=True)
class _LayerNorm:
    """The kernel's builder; the arguments are those of the function."""

    level: Level
    channels: int
    eps: float
    to_codes: bool
    x: Any
    gamma: Any
    beta: Any
    bounds: Any
    out: Any

    def row(self, row: Expr) -> None:
        """Write one row: its sum, the sum of the centred squares, its output."""
        share = tirx.const(1.0, "float32") / tirx.const(float(self.channels), "float32")
        with T.sblock("row"):
            T.reads()
            T.writes()
            shape = (LANES // self.level.lanes, self.level.lanes)
            sums, squares = (T.sblock_alloc_buffer(shape, "float32") for _ in range(2))
            scalars = T.sblock_alloc_buffer((3,), "float32")
            T.buffer_store(scalars, share, [2])
            self._add(sums, lambda c, n, total: total + self._load(self.x, c, n, row))
            T.buffer_store(scalars, self._across(sums), [0])
            minus = tirx.const(-1.0, "float32") * scalars[2]

            def centred(c: Expr, n: int) -> Expr:
                return T.fma(_splat(minus, n), _splat(scalars[0], n), self._load(self.x, c, n, row))

            self._add(squares, lambda c, n, total: T.fma(centred(c, n), centred(c, n), total))
            variance = T.fma(self._across(squares), scalars[2], tirx.const(self.eps, "float32"))
            T.buffer_store(scalars, tirx.const(1.0, "float32") / T.sqrt(variance), [1])

            def value(c: Expr, n: int) -> Expr:
                scaled = centred(c, n) * _splat(scalars[1], n)
                return T.fma(scaled, self._load(self.gamma, c, n), self._load(self.beta, c, n))

            self._store(value, row)

    def _load(self, buffer: Any, c: Expr, n: int, *rows: Expr) -> Expr:
        return buffer.vload([*rows, c], f"float32x{n}") if n > 1 else buffer[(*rows, c)]

    def _add(self, sums: Any, add: Callable[[Expr, int, Expr], Expr]) -> None:
        """sums[lane] = all channels of the lane added up by add(channel, lanes, sum so far)."""
        lanes = self.level.lanes
        slots = LANES // lanes
        for slot in range(slots):
            store(sums, slot, T.broadcast(tirx.const(0.0, "float32"), lanes), lanes)
        with T.serial(0, self.channels // LANES) as block:
            for slot in range(slots):
                store(sums, slot, add(block * LANES + slot * lanes, lanes, load(sums, slot, lanes)), lanes)
        done = self.channels // LANES * LANES
        for slot in range((self.channels - done) // lanes):
            store(sums, slot, add(tirx.const(done + slot * lanes, "int32"), lanes, load(sums, slot, lanes)), lanes)
        for c in range(self.channels // lanes * lanes, self.channels):
            slot, lane = divmod(c - done, lanes)
            T.buffer_store(sums, add(tirx.const(c, "int32"), 1, sums[slot, lane]), [slot, lane])

    def _across(self, sums: Any) -> Expr:
        """The sum of all lanes, halves added 16, 8, 4, 2, 1."""
        lanes = self.level.lanes
        values = [load(sums, slot, lanes) for slot in range(LANES // lanes)]
        while len(values) > 1:
            half = len(values) // 2
            values = [a + b for a, b in zip(values[:half], values[half:], strict=True)]
        total = values[0]
        while lanes > 1:
            lanes //= 2
            total = pick([total], list(range(lanes))) + pick([total], list(range(lanes, 2 * lanes)))
        return total

    def _store(self, value: Callable[[Expr, int], Expr], row: Expr) -> None:
        """out = value of every channel: 32 at a time, then vectors, then one by one."""
        lanes = self.level.lanes
        whole, vectors = self.channels // LANES, self.channels % LANES // lanes
        with T.serial(0, whole) as block:
            self._vectors(value, row, block * LANES, LANES // lanes)
        if vectors:
            self._vectors(value, row, tirx.const(whole * LANES, "int32"), vectors)
        with T.serial(self.channels // lanes * lanes, self.channels) as c:
            one = value(c, 1)
            if self.to_codes:
                one = T.Cast("int8", T.round(tirx.min(tirx.max(one, self.bounds[0]), self.bounds[1])))
            T.buffer_store(self.out, one, [row, c])

    def _vectors(self, value: Callable[[Expr, int], Expr], row: Expr, first: Expr, count: int) -> None:
        lanes = self.level.lanes
        values = [value(first + i * lanes, lanes) for i in range(count)]
        if not self.to_codes:
            for i, one in enumerate(values):
                T.buffer_store(self.out, one, [row, ramp(first + i * lanes, lanes)])
            return
        for lane, size, codes in self.level.narrow(values, self.bounds[0], self.bounds[1]):
            T.buffer_store(self.out, codes, [row, ramp(first + lane, size)])


def _splat(value: Expr, lanes: int) -> Expr:
    return T.broadcast(value, lanes) if lanes > 1 else value
