"""Look-ups by byte shuffles of sixteen entries, on levels whose widest shuffle takes no more: `vpshufb`.

A shuffle gives zero where an index is negative. Rows of sixteen entries are stored as the difference (XOR) from the row before,
the index is lowered by sixteen from row to row with saturation, and so the rows up to the index's own add up to its entry. The
two halves of the table begin anew, since an index of the other half is negative from the start.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import llvm, pick, ramp
from lampq_tvm.kernels.isa.level import Generic

ROW, ROWS = 16, 8  # entries of a shuffle, and rows of half a table


class Shuffles(Generic):
    """Levels of x86 with shuffles of 32 bytes."""

    def lay_out(self, table: Any) -> Any:
        """[256] bytes: rows of sixteen entries, each but the first of a half XOR the row before."""
        rows = T.sblock_alloc_buffer((2 * ROWS * ROW,), table.dtype)
        for number in range(2 * ROWS):
            entries, before = (table.vload([ROW * i], f"{table.dtype}x{ROW}") for i in (number, max(number - 1, 0)))
            T.buffer_store(rows, T.bitwise_xor(entries, before) if number % ROWS else entries, [ramp(ROW * number, ROW)])
        return rows

    def look_up(self, table: Any, index: Expr) -> Expr:
        """The table's entries at uint8 [32]."""
        lanes, found = self.look_lanes, None
        step = T.broadcast(tirx.const(ROW, "int8"), lanes)
        for half in range(2):
            turned = T.bitwise_xor(index, T.broadcast(tirx.const(128 * half, "uint8"), lanes))
            place = T.reinterpret(turned, dtype=f"int8x{lanes}")
            for number in range(half * ROWS, (half + 1) * ROWS):
                row = pick([table.vload([ROW * number], f"{table.dtype}x{ROW}")] * (lanes // ROW), list(range(lanes)))
                part = llvm("llvm.x86.avx2.pshuf.b", f"int8x{lanes}", T.reinterpret(row, dtype=f"int8x{lanes}"), place)
                found = part if found is None else T.bitwise_xor(found, part)
                place = llvm("llvm.ssub.sat.v32i8", f"int8x{lanes}", place, step)
        assert found is not None
        return T.reinterpret(found, dtype=f"{table.dtype}x{lanes}")
