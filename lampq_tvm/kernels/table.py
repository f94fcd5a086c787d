"""A table of 256 bytes that codes are looked up in: as many at once as the level's look-up takes, else one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.isa.level import Level
from lampq_tvm.kernels.rows import lanes_of, spread


@dataclass(frozen=True)
class Table:
    """A kernel's table.

    Attributes:
        entries: int8 or uint8 [256].
        laid_out: what the level's look-up reads, made of the entries.
    """

    level: Level
    entries: Any
    laid_out: Any

    @classmethod
    def of(cls, level: Level, entries: Any) -> Table:
        """That of a kernel's argument; made before a parallel loop, it is laid out once for all threads."""
        return cls(level, entries, level.lay_out(entries))

    def at(self, index: Expr) -> Expr:
        """The entries at uint8 [look_lanes]."""
        return self.level.look_up(self.laid_out, index)

    def of_codes(self, codes: Expr, lanes: int) -> Expr:
        """The entries at code + 128, of `lanes` int8 codes."""
        if lanes == self.level.look_lanes:
            index = T.reinterpret(codes, dtype=f"uint8x{lanes}")
            return self.at(T.bitwise_xor(index, T.broadcast(tirx.const(128, "uint8"), lanes)))
        return self.entries[T.Cast(lanes_of("int32", lanes), codes) + spread(tirx.const(128, "int32"), lanes)]
