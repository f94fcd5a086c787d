"""Bytes on x86: packing codes together, adding them up, and looking up sixteen entries at once by `vpshufb`.

All three work in each 16 bytes of a vector apart. A shuffle gives zero where an index is negative. Rows of sixteen entries are
stored as the difference (XOR) from the row before, the index is lowered by sixteen from row to row with saturation, and so the
rows up to the index's own add up to its entry. The two halves of the table begin anew, since an index of the other half is
negative from the start.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import llvm, pick, ramp
from lampq_tvm.kernels.isa.level import Generic

ROW, ROWS = 16, 8  # entries of a shuffle, and rows of half a table


class X86Level(Generic):
    """AVX2 with vectors of 32 bytes, AVX-512 with vectors of 64."""

    @abstractmethod
    def to_ints(self, value: Expr) -> Expr:
        """rne(v) of float32 [lanes] as int32; what leaves it becomes its lowest number."""

    def narrow(self, values: list[Expr], low: Expr, high: Expr, *, signed: bool = True) -> Iterator[tuple[int, int, Expr]]:
        """sat(rne(v)) of neighbouring vectors as bytes, those of four vectors together.

        Clamped as float from above alone: what leaves int32 becomes its lowest number, and packing saturates.
        """
        whole, lanes = len(values) // 4 * 4, self.lanes
        dtype, sign = ("int8", "ss") if signed else ("uint8", "us")
        order = [vector + 4 * part for vector in range(4) for part in range(lanes // 4)]  # of words, packed part by part
        for i in range(0, whole, 4):
            ints = [self.to_ints(tirx.min(v, T.broadcast(high, lanes))) for v in values[i : i + 4]]
            halves = [self._bytes("packssdw", f"int16x{2 * lanes}", *ints[j : j + 2]) for j in (0, 2)]
            packed = self._bytes(f"pack{sign}wb", f"int8x{4 * lanes}", *halves)
            words = pick([T.reinterpret(packed, dtype=f"int32x{lanes}")], order)
            found = T.reinterpret(words, dtype=f"{dtype}x{4 * lanes}")
            yield lanes * i, 4 * lanes, tirx.max(found, T.broadcast(T.Cast(dtype, low), 4 * lanes))
        for at, count, found in super().narrow(values[whole:], low, high, signed=signed):
            yield lanes * whole + at, count, found

    def add_bytes(self, total: Expr, values: Expr) -> Expr:
        """total, int32 [lanes], plus the bytes, uint8 [4 * lanes], eight in every second lane."""
        nothing = T.broadcast(tirx.const(0, "uint8"), 4 * self.lanes)
        sums = self._bytes("psad.bw", f"int64x{self.lanes // 2}", values, nothing)
        return total + T.reinterpret(sums, dtype=f"int32x{self.lanes}")

    def _bytes(self, name: str, dtype: str, *args: Expr) -> Expr:
        """The instruction of that name on whole vectors."""
        return llvm(f"llvm.x86.avx2.{name}" if self.lanes == 8 else f"llvm.x86.avx512.{name}.512", dtype, *args)

    def lay_out(self, table: Any) -> Any:
        """[256] bytes: rows of sixteen entries, each but the first of a half XOR the row before."""
        rows = T.sblock_alloc_buffer((2 * ROWS * ROW,), table.dtype)
        for number in range(2 * ROWS):
            entries, before = (table.vload([ROW * i], f"{table.dtype}x{ROW}") for i in (number, max(number - 1, 0)))
            T.buffer_store(rows, T.bitwise_xor(entries, before) if number % ROWS else entries, [ramp(ROW * number, ROW)])
        return rows

    def look_up(self, table: Any, index: Expr) -> Expr:
        """The table's entries at uint8 [look_lanes]."""
        lanes, found = self.look_lanes, None
        step = T.broadcast(tirx.const(ROW, "int8"), lanes)
        for half in range(2):
            turned = T.bitwise_xor(index, T.broadcast(tirx.const(128 * half, "uint8"), lanes))
            place = T.reinterpret(turned, dtype=f"int8x{lanes}")
            for number in range(half * ROWS, (half + 1) * ROWS):
                row = pick([table.vload([ROW * number], f"{table.dtype}x{ROW}")] * (lanes // ROW), list(range(lanes)))
                part = self._bytes("pshuf.b", f"int8x{lanes}", T.reinterpret(row, dtype=f"int8x{lanes}"), place)
                found = part if found is None else T.bitwise_xor(found, part)
                place = llvm(f"llvm.ssub.sat.v{lanes}i8", f"int8x{lanes}", place, step)
        assert found is not None
        return T.reinterpret(found, dtype=f"{table.dtype}x{lanes}")
