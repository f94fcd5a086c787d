"""Table softmax of a row of integer scores.

    d = max(row) - row;  i = min(255, rne(fl(fl(d) * S)));  p = P[i];  R = sum of p
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import pick, ramp
from lampq_tvm.kernels.isa.level import Level
from lampq_tvm.kernels.shapes import round_up


@dataclass(frozen=True)
class Softmax:
    """Rows of `tokens` scores to rows of p.

    Attributes:
        lanes: scores that are written at once.
        table: P, uint8 [256].
    """

    level: Level
    lanes: int
    tokens: int
    table: Any

    @property
    def step(self) -> int:
        """Scores that are worked on at once."""
        return max(self.level.look_lanes, self.level.byte_lanes)

    @property
    def columns(self) -> int:
        """Columns that a buffer of scores must have."""
        return round_up(self.tokens, max(self.step, self.lanes))

    def row(self, scores: Any, scale: Expr, p: Any, inverse: Any, r: Expr) -> None:
        """Write row r of p, uint8 [rows, at least `columns`], and inverse[r] = fl(1 / R); scores: int32 [rows, `columns`]."""
        lanes, tokens = self.level.lanes, self.tokens
        step, width = self.step, self.columns
        with T.sblock("softmax"):
            T.reads()
            T.writes()
            top = T.sblock_alloc_buffer((lanes,), "int32")
            total = T.sblock_alloc_buffer((lanes,), "int32")
            self._maximum(scores, top, r)
            T.buffer_store(total, T.broadcast(tirx.const(0, "int32"), lanes), [ramp(0, lanes)])
            with T.serial(0, width // step) as i:
                self._codes(scores, top, scale, p, r, i * step)
            if not self.level.look_lanes:
                with T.serial(0, tokens) as t:
                    T.buffer_store(p, self.table[p[r, t]], [r, t])
            with T.serial(tokens, width) as t:
                T.buffer_store(p, tirx.const(0, "uint8"), [r, t])
            with T.serial(0, width // self.level.byte_lanes) as i:
                part = p.vload([r, i * self.level.byte_lanes], f"uint8x{self.level.byte_lanes}")
                T.buffer_store(total, self.level.add_bytes(total.vload([0], f"int32x{lanes}"), part), [ramp(0, lanes)])
            count = self._across(total, lambda a, b: a + b)
            T.buffer_store(inverse, tirx.const(1.0, "float32") / T.Cast("float32", count), [r])

    def _maximum(self, scores: Any, top: Any, r: Expr) -> None:
        """top = the row's maximum in every lane; columns beyond the tokens get the first score."""
        lanes, tokens = self.level.lanes, self.tokens
        T.buffer_store(top, T.broadcast(scores[r, 0], lanes), [ramp(0, lanes)])
        with T.serial(0, tokens // lanes) as i:
            part = scores.vload([r, i * lanes], f"int32x{lanes}")
            T.buffer_store(top, tirx.max(top.vload([0], f"int32x{lanes}"), part), [ramp(0, lanes)])
        with T.serial(tokens // lanes * lanes, tokens) as t:
            T.buffer_store(top, tirx.max(top[0], scores[r, t]), [0])
        with T.serial(tokens, self.columns) as t:
            T.buffer_store(scores, scores[r, 0], [r, t])
        largest = self._across(top, tirx.max)
        T.buffer_store(top, T.broadcast(largest, lanes), [ramp(0, lanes)])

    def _across(self, vector: Any, combine: Any) -> Expr:
        """All lanes of a local vector combined, by halves."""
        lanes = self.level.lanes
        value = vector.vload([0], f"int32x{lanes}")
        while lanes > 1:
            lanes //= 2
            value = combine(pick([value], list(range(lanes))), pick([value], list(range(lanes, 2 * lanes))))
        return value

    def _codes(self, scores: Any, top: Any, scale: Expr, p: Any, r: Expr, first: Expr) -> None:
        """p[r, first:] = p of `step` scores, or the table's indices where looking up is scalar work."""
        lanes = self.level.lanes
        scales, largest = T.broadcast(scale, lanes), top.vload([0], f"int32x{lanes}")
        values = [
            T.Cast(f"float32x{lanes}", largest - scores.vload([r, first + i], f"int32x{lanes}")) * scales
            for i in range(0, self.step, lanes)
        ]
        low, high = tirx.const(0.0, "float32"), tirx.const(255.0, "float32")
        for lane, size, codes in self.level.narrow(values, low, high, signed=False):
            found = self.level.look_up(self.table, codes) if size == self.level.look_lanes else codes
            T.buffer_store(p, found, [r, ramp(first + lane, size)])
