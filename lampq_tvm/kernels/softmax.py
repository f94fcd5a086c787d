"""Table softmax of a row of integer scores.

d = max(row) - row;  i = min(255, rne(fl(fl(d) * S)));  p = P[i];  R = sum of p
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import pick, ramp, steps
from lampq_tvm.kernels.isa.level import Level
from lampq_tvm.kernels.shapes import round_up
from lampq_tvm.kernels.table import Table

UNROLL = 4  # blocks of scores that are written out


@dataclass(frozen=True)
class Softmax:
    """Rows of `tokens` scores to rows of p.

    Attributes:
        lanes: scores that are written at once.
        table: P, of uint8.
    """

    level: Level
    lanes: int
    tokens: int
    table: Table

    @property
    def step(self) -> int:
        """Scores that are worked on at once."""
        return max(self.level.look_lanes, self.level.byte_lanes)

    @property
    def columns(self) -> int:
        """Columns that a buffer of scores must have."""
        return round_up(self.tokens, max(self.step, self.lanes))

    def row(self, scores: Any, tops: Any, scale: Expr, p: Any, inverse: Any, r: Expr) -> None:
        """Write row r of p, uint8 [rows, at least `columns`], and inverse[r] = fl(1 / R).

        Args:
            scores: int32 [rows, `columns`]; columns beyond the tokens may hold anything.
            tops: int32 [rows, lanes]: lanes of which the largest is the row's maximum.
        """
        lanes, tokens = self.level.lanes, self.tokens
        blocks, together = tokens // self.step, self.level.look_lanes == self.level.byte_lanes
        with T.sblock("softmax"):
            T.reads()
            T.writes()
            top = T.sblock_alloc_buffer((lanes,), "int32")
            total = T.sblock_alloc_buffer((lanes,), "int32")
            largest = self._across(tops.vload([r, 0], f"int32x{lanes}"), tirx.max)
            T.buffer_store(top, T.broadcast(largest, lanes), [ramp(0, lanes)])
            T.buffer_store(total, T.broadcast(tirx.const(0, "int32"), lanes), [ramp(0, lanes)])
            for i in steps(blocks, UNROLL):
                for found in self._codes(scores, top, scale, p, r, i * self.step):
                    if together:
                        self._add(total, found)
            if blocks * self.step < tokens:
                list(self._codes(scores, top, scale, p, r, tirx.const(blocks * self.step, "int32")))
            if not self.level.look_lanes:
                with T.serial(0, tokens) as t:
                    T.buffer_store(p, self.table.entries[p[r, t]], [r, t])
            with T.serial(tokens, self.columns) as t:
                T.buffer_store(p, tirx.const(0, "uint8"), [r, t])
            each = self.level.byte_lanes
            with T.serial(blocks * self.step // each if together else 0, self.columns // each) as i:
                self._add(total, p.vload([r, i * each], f"uint8x{each}"))
            count = self._across(total.vload([0], f"int32x{lanes}"), lambda a, b: a + b)
            T.buffer_store(inverse, tirx.const(1.0, "float32") / T.Cast("float32", count), [r])

    def _add(self, total: Any, part: Expr) -> None:
        lanes = self.level.lanes
        T.buffer_store(total, self.level.add_bytes(total.vload([0], f"int32x{lanes}"), part), [ramp(0, lanes)])

    def _across(self, value: Expr, combine: Any) -> Expr:
        """All lanes of a vector combined, by halves."""
        lanes = self.level.lanes
        while lanes > 1:
            lanes //= 2
            value = combine(pick([value], list(range(lanes))), pick([value], list(range(lanes, 2 * lanes))))
        return value

    def _codes(self, scores: Any, top: Any, scale: Expr, p: Any, r: Expr, first: Expr) -> Iterator[Expr]:
        """p[r, first:] = p of `step` scores, or the table's indices where looking up is scalar work; what is written."""
        lanes = self.level.lanes
        scales, largest = T.broadcast(scale, lanes), top.vload([0], f"int32x{lanes}")
        values = [
            T.Cast(f"float32x{lanes}", largest - scores.vload([r, first + i], f"int32x{lanes}")) * scales
            for i in range(0, self.step, lanes)
        ]
        low, high = tirx.const(0.0, "float32"), tirx.const(255.0, "float32")
        for lane, size, codes in self.level.narrow(values, low, high, signed=False):
            found = T.Bind(self.table.at(codes) if size == self.level.look_lanes else codes)
            T.buffer_store(p, found, [r, ramp(first + lane, size)])
            yield found
