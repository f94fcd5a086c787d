"""Local memory that LLVM keeps in registers where it can."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import ramp

STACK = 1024  # bytes from which on TVM asks its runtime for a buffer: as far as LLVM knows, that memory may be anything's


class Registers:
    """Registers [slots, lanes] of the block that is being written, in as few buffers as fit the stack.

    Args:
        slots, lanes: how many registers, and elements of each.
        dtype: of an element.
    """

    def __init__(self, slots: int, lanes: int, dtype: str) -> None:
        self.slots, self.lanes, self.dtype = slots, lanes, dtype
        self._each = (STACK - 1) // (lanes * np.dtype(dtype).itemsize)
        counts = [min(self._each, slots - first) for first in range(0, slots, self._each)]
        self._parts: list[Any] = [T.sblock_alloc_buffer((count, lanes), dtype) for count in counts]

    def load(self, slot: int) -> Expr:
        """A register."""
        return self._parts[slot // self._each].vload([slot % self._each, 0], f"{self.dtype}x{self.lanes}")

    def store(self, slot: int, value: Expr) -> None:
        """Write a register."""
        T.buffer_store(self._parts[slot // self._each], value, [slot % self._each, ramp(0, self.lanes)])

    def load_lane(self, slot: int, lane: int) -> Expr:
        """One element."""
        return self._parts[slot // self._each][slot % self._each, lane]

    def store_lane(self, slot: int, lane: int, value: Expr) -> None:
        """Write one element."""
        T.buffer_store(self._parts[slot // self._each], value, [slot % self._each, lane])

    def clear(self) -> None:
        """Set all to zero."""
        for slot in range(self.slots):
            self.store(slot, T.broadcast(tirx.const(0, self.dtype), self.lanes))

    @property
    def address(self) -> Expr:
        """Of all registers, one after the other."""
        if len(self._parts) > 1:
            raise AssertionError(f"{self.slots} registers of {self.lanes} {self.dtype} lie in {len(self._parts)} buffers")
        return T.address_of(self._parts[0][0, 0])
