"""LayerNorm in the arithmetic table's order: 32 strided lanes, halves added, centred and squared by fma."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.emit import argument, load, pick, ramp, steps, store
from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.kernels.isa.level import Level
from lampq_tvm.kernels.tiles import Tiles

LANES = 32
SUMS = 8


def layernorm_tiles(rows: int, isa: str) -> Tiles:
    """Sizes without tuning: rows side by side whose sums fill eight registers, so that no addition waits for the one before."""
    return Tiles(min(rows, max(1, SUMS * LEVELS[isa].lanes // LANES)), 1)


def build_layernorm(rows: int, channels: int, eps: float, to_codes: bool, isa: str, tiles: Tiles | None = None) -> PrimFunc:
    """The kernel for any rows and channels; the last rows side by side are moved up to end with the last row.

    Arguments of the function, in order: x [rows, C] f32; G, B [C] f32; range [2] f32 (unused without codes);
    out [rows, C], int8 codes sat(rne(fma(c * r, G, B))) or f32 values fma(c * r, G, B).
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
                to_codes,
                tiles,
                x=argument("x", (rows, channels), "float32"),
                gamma=argument("G", (channels,), "float32"),
                beta=argument("B", (channels,), "float32"),
                bounds=argument("range", (2,), "float32"),
                out=argument("out", (rows, channels), "int8" if to_codes else "float32"),
            )
            with T.sblock("root"):
                T.reads()
                T.writes()
                with T.parallel(0, -(-rows // tiles.rows)) as job:
                    norm.write(tirx.min(job * tiles.rows, tirx.const(rows - tiles.rows, "int32")))
        return builder.get()


@dataclass(frozen=True)
class _LayerNorm:
    """The kernel's builder; the arguments are those of the function."""

    level: Level
    channels: int
    eps: float
    to_codes: bool
    tiles: Tiles
    x: Any
    gamma: Any
    beta: Any
    bounds: Any
    out: Any

    def write(self, first: Expr) -> None:
        """Write the rows from `first`: their sums, the sums of the centred squares, their output."""
        share = tirx.const(1.0, "float32") / tirx.const(float(self.channels), "float32")
        rows = [first + r for r in range(self.tiles.rows)]
        with T.sblock("rows"):
            T.reads()
            T.writes()
            shape = (len(rows) * LANES // self.level.lanes, self.level.lanes)
            sums, squares = (T.sblock_alloc_buffer(shape, "float32") for _ in range(2))
            scalars = T.sblock_alloc_buffer((len(rows), 3), "float32")
            for r in range(len(rows)):
                T.buffer_store(scalars, share, [r, 2])
            self._add(sums, lambda c, n, r, total: total + self._load(self.x, c, n, rows[r]))
            for r in range(len(rows)):
                T.buffer_store(scalars, self._across(sums, r), [r, 0])

            def centred(c: Expr, n: int, r: int) -> Expr:
                minus = tirx.const(-1.0, "float32") * scalars[r, 2]
                return T.fma(_splat(minus, n), _splat(scalars[r, 0], n), self._load(self.x, c, n, rows[r]))

            self._add(squares, lambda c, n, r, total: T.fma(centred(c, n, r), centred(c, n, r), total))
            for r in range(len(rows)):
                variance = T.fma(self._across(squares, r), scalars[r, 2], tirx.const(self.eps, "float32"))
                T.buffer_store(scalars, tirx.const(1.0, "float32") / T.sqrt(variance), [r, 1])

            def value(c: Expr, n: int, r: int) -> Expr:
                scaled = centred(c, n, r) * _splat(scalars[r, 1], n)
                return T.fma(scaled, self._load(self.gamma, c, n), self._load(self.beta, c, n))

            self._store(value, rows)

    def _load(self, buffer: Any, c: Expr, n: int, *rows: Expr) -> Expr:
        return buffer.vload([*rows, c], f"float32x{n}") if n > 1 else buffer[(*rows, c)]

    @property
    def _slots(self) -> int:
        return LANES // self.level.lanes

    def _add(self, sums: Any, add: Callable[[Expr, int, int, Expr], Expr]) -> None:
        """sums[row, lane] = all channels of the lane added up by add(channel, lanes, row, sum so far)."""
        lanes, whole = self.level.lanes, self.channels // LANES
        done = whole * LANES

        def vectors(c: Expr, slots: Iterable[int]) -> None:
            for r in range(self.tiles.rows):
                for slot in slots:
                    at = r * self._slots + slot
                    store(sums, at, add(c + slot * lanes, lanes, r, load(sums, at, lanes)), lanes)

        for at in range(self.tiles.rows * self._slots):
            store(sums, at, T.broadcast(tirx.const(0.0, "float32"), lanes), lanes)
        for block in steps(whole, self.tiles.unroll):
            vectors(block * LANES, range(self._slots))
        vectors(tirx.const(done, "int32"), range((self.channels - done) // lanes))
        for c in range(self.channels // lanes * lanes, self.channels):
            slot, lane = divmod(c - done, lanes)
            for r in range(self.tiles.rows):
                at = r * self._slots + slot
                T.buffer_store(sums, add(tirx.const(c, "int32"), 1, r, sums[at, lane]), [at, lane])

    def _across(self, sums: Any, r: int) -> Expr:
        """The sum of all lanes of a row, halves added 16, 8, 4, 2, 1."""
        lanes = self.level.lanes
        values = [load(sums, r * self._slots + slot, lanes) for slot in range(self._slots)]
        while len(values) > 1:
            half = len(values) // 2
            values = [a + b for a, b in zip(values[:half], values[half:], strict=True)]
        total = values[0]
        while lanes > 1:
            lanes //= 2
            total = pick([total], list(range(lanes))) + pick([total], list(range(lanes, 2 * lanes)))
        return total

    def _store(self, value: Callable[[Expr, int, int], Expr], rows: list[Expr]) -> None:
        """out = value of every channel: 32 at a time, then vectors, then one by one."""
        lanes = self.level.lanes
        whole, vectors = self.channels // LANES, self.channels % LANES // lanes
        for block in steps(whole, self.tiles.unroll):
            self._vectors(value, rows, block * LANES, LANES // lanes)
        if vectors:
            self._vectors(value, rows, tirx.const(whole * LANES, "int32"), vectors)
        with T.serial(self.channels // lanes * lanes, self.channels) as c:
            for r, row in enumerate(rows):
                one = value(c, 1, r)
                if self.to_codes:
                    one = T.Cast("int8", T.round(tirx.min(tirx.max(one, self.bounds[0]), self.bounds[1])))
                T.buffer_store(self.out, one, [row, c])

    def _vectors(self, value: Callable[[Expr, int, int], Expr], rows: list[Expr], first: Expr, count: int) -> None:
        lanes = self.level.lanes
        for r, row in enumerate(rows):
            values = [value(first + i * lanes, lanes, r) for i in range(count)]
            if not self.to_codes:
                for i, one in enumerate(values):
                    T.buffer_store(self.out, one, [row, ramp(first + i * lanes, lanes)])
                continue
            for lane, size, codes in self.level.narrow(values, self.bounds[0], self.bounds[1]):
                T.buffer_store(self.out, codes, [row, ramp(first + lane, size)])


def _splat(value: Expr, lanes: int) -> Expr:
    return T.broadcast(value, lanes) if lanes > 1 else value
