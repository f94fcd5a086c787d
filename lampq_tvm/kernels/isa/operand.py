"""Where a register tile's operands lie, step by step along K."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T


@dataclass(frozen=True)
class Packed:
    """A panel of rows, or a weight vector.

    Attributes:
        buffer: [.., steps, elements of a step].
        at: indices before the step's.
        unit: elements that are read as one: a row's inputs, or a weight.
    """

    buffer: Any
    at: tuple[Expr | int, ...]
    unit: int = 1

    def read(self, step: Expr, first: int, count: int) -> Expr:
        """Neighbouring units at a step, [count * unit]."""
        return self.buffer.vload([*self.at, step, first * self.unit], f"{self.buffer.dtype}x{count * self.unit}")

    def address(self, step: Expr | int = 0) -> Expr:
        """Of a step."""
        return T.address_of(self.buffer[(*self.at, step, 0)])

    @property
    def stride(self) -> int:
        """Bytes of a step, int8."""
        return int(self.buffer.shape[-1])
