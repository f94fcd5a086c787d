"""The one place where CPU kernels store codes: rounded, clamped and narrowed, then looked up where a table decodes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr

from lampq_tvm.kernels.emit import Argument
from lampq_tvm.kernels.isa.level import Level
from lampq_tvm.kernels.rows import codes, put
from lampq_tvm.kernels.table import Table

LOW, HIGH = -128.0, 127.0  # of the codes that a table is looked up at


@dataclass(frozen=True)
class CodeSink:
    """Where codes go.

    Attributes:
        out: int8 [.., channels].
        bounds: float32 [2], lowest and highest code; None where all 8 bits are used, as before a table.
        table: of int8, whose entry at code + 128 is stored; None where codes are stored themselves.
    """

    level: Level
    out: Any
    bounds: Any = None
    table: Table | None = None

    @classmethod
    def of(cls, level: Level, out: Any, constant: Any, *, table: bool) -> CodeSink:
        """That of a kernel whose argument `sink_argument` is `constant`; made before a parallel loop."""
        return cls(level, out, None, Table.of(level, constant)) if table else cls(level, out, constant)

    @property
    def range(self) -> tuple[Expr, Expr]:
        """Lowest and highest code before a look-up."""
        if self.bounds is None:
            return tirx.const(LOW, "float32"), tirx.const(HIGH, "float32")
        return self.bounds[0], self.bounds[1]

    def put(self, values: list[Expr], first: Expr | int, lanes: int, *row: Expr | int) -> None:
        """Store neighbouring float32 vectors, or one scalar, from `first` on; they are in units of codes."""
        for at, size, found in self._encoded(values, lanes):
            put(self.out, [found], first + at, size, *row)

    def _encoded(self, values: list[Expr], lanes: int) -> Iterator[tuple[int, int, Expr]]:
        """(first lane, lanes, what is stored) of every value once."""
        for at, size, found in codes(self.level, values, *self.range, lanes):
            yield at, size, found if self.table is None else self.table.of_codes(found, size)


def sink_argument(*, table: bool) -> Argument:
    """The argument of a kernel that says how codes are stored: their range, or the table."""
    return ("table", (256,), "int8") if table else ("range", (2,), "float32")
