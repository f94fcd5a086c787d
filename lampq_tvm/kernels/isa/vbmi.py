"""AVX-512 VBMI beside VNNI: `vpermi2b` looks 64 bytes up in 128 entries at once."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import llvm
from lampq_tvm.kernels.isa.level import emits
from lampq_tvm.kernels.isa.vnni import VnniLevel


@emits("vbmi")
class VbmiLevel(VnniLevel):
    """AVX-512 with VNNI and VBMI."""

    def lay_out(self, table: Any) -> Any:
        """The table as it is."""
        return table

    def look_up(self, table: Any, index: Expr) -> Expr:
        """table[index] of uint8 [64]: two halves of the table, chosen by the index's highest bit."""
        quarters = [table.vload([64 * i], f"{table.dtype}x64") for i in range(4)]
        low, high = (
            llvm("llvm.x86.avx512.vpermi2var.qi.512", f"{table.dtype}x64", a, index, b) for a, b in (quarters[:2], quarters[2:])
        )
        upper = index >= T.broadcast(tirx.const(128, "uint8"), 64)
        return tirx.Select(upper, high, low)
