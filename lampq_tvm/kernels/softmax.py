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
from lampq_tvm.kernels.factor import Factor
from lampq_tvm.kernels.isa.level import Level
from lampq_tvm.kernels.panel import BYTES
from lampq_tvm.kernels.shapes import round_up


@dataclass(frozen=True)
class Softmax:
    """Rows of `tokens` scores to rows of the value product's operand.

    Attributes:
        values: the value product's factor, which says how p is stored.
        table: P, uint8 [256].
    """

    level: Level
    values: Factor
    tokens: int
    table: Any

    @property
    def step(self) -> int:
        """Scores that are worked on at once."""
        return max(self.level.look_lanes, self.level.byte_lanes)

    @property
    def columns(self) -> int:
        """Columns that a buffer of scores must have."""
        return round_up(self.tokens, max(self.step, self.values.dot.lanes))

    def row(self, scores: Any, scale: Expr, p: Any, inverse: Any, r: Expr) -> None:
        """Write row r of the panel p, and inverse[r] = fl(1 / R); scores: int32 [rows, `columns`]."""
        lanes, tokens = self.level.lanes, self.tokens
        step, width = self.step, self.columns
        with T.sblock("softmax"):
            T.reads()
            T.writes()
            row = T.sblock_alloc_buffer((round_up(width, BYTES),), "uint8")
            top = T.sblock_alloc_buffer((lanes,), "int32")
            total = T.sblock_alloc_buffer((lanes,), "int32")
            self._maximum(scores, top, r)
            T.buffer_store(total, T.broadcast(tirx.const(0, "int32"), lanes), [ramp(0, lanes)])
            with T.serial(0, width // step) as i:
                self._codes(scores, top, scale, row, r, i * step)
            if not self.level.look_lanes:
                with T.serial(0, tokens) as t:
                    T.buffer_store(row, self.table[row[t]], [t])
            with T.serial(tokens, width) as t:
                T.buffer_store(row, tirx.const(0, "uint8"), [t])
            with T.serial(0, width // self.level.byte_lanes) as i:
                part = row.vload([i * self.level.byte_lanes], f"uint8x{self.level.byte_lanes}")
                T.buffer_store(total, self.level.add_bytes(total.vload([0], f"int32x{lanes}"), part), [ramp(0, lanes)])
            count = self._across(total, lambda a, b: a + b)
            T.buffer_store(inverse, tirx.const(1.0, "float32") / T.Cast("float32", count), [r])
            self._operand(row, p, r)

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

    def _codes(self, scores: Any, top: Any, scale: Expr, row: Any, r: Expr, first: Expr) -> None:
        """row[first:] = p of `step` scores, or the table's indices where looking up is scalar work."""
        lanes = self.level.lanes
        scales, largest = T.broadcast(scale, lanes), top.vload([0], f"int32x{lanes}")
        values = [
            T.Cast(f"float32x{lanes}", largest - scores.vload([r, first + i], f"int32x{lanes}")) * scales
            for i in range(0, self.step, lanes)
        ]
        low, high = tirx.const(0.0, "float32"), tirx.const(255.0, "float32")
        for lane, size, codes in self.level.narrow(values, low, high, signed=False):
            found = self.level.look_up(self.table, codes) if size == self.level.look_lanes else codes
            T.buffer_store(row, found, [ramp(first + lane, size)])

    def _operand(self, row: Any, p: Any, r: Expr) -> None:
        """The panel's row from p; beyond the tokens p is 0, and so is what its excess makes of it: the values there are 0."""
        group = self.values.dot.group
        each = BYTES // group
        whole, rest = divmod(self.values.packed[1], each)
        with T.serial(0, whole) as i:
            self._groups(row, p, r, i * each, each)
        if rest:
            self._groups(row, p, r, tirx.const(whole * each, "int32"), rest)

    def _groups(self, row: Any, p: Any, r: Expr, first: Expr, count: int) -> None:
        """`count` groups of the panel's row from 16 bytes, which are changed together: LLVM widens arithmetic on fewer."""
        group, dtype = self.values.dot.group, self.values.dot.a_dtype
        part = row.vload([first * group], f"uint8x{BYTES}")
        if dtype == "int8":
            part = T.bitwise_xor(part, T.broadcast(tirx.const(128, "uint8"), BYTES))
        groups = T.reinterpret(part, dtype=f"int{8 * group}x{BYTES // group}")
        for j in range(count):
            codes = T.reinterpret(pick([groups], [j]), dtype=f"uint8x{group}" if dtype == "int16" else f"{dtype}x{group}")
            codes = T.Cast(f"int16x{group}", codes) if dtype == "int16" else codes
            T.buffer_store(p, codes, [0, first + j, ramp(r * group, group)])
