"""What an instruction set level offers besides multiply-adds: float vectors to codes, and look-ups in a 256-entry table.

A file of this folder that puts `emits` on a class writes the kernels of the level of that name (`lampq_tvm/levels/cpu/`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kernels.isa.dot import Dot
from lampq_tvm.levels import CPU_LEVELS, CpuLevel
from lampq_tvm.registry import Registry


class Level(ABC):
    """An instruction set level.

    Attributes:
        data: its sizes.
    """

    def __init__(self, data: CpuLevel) -> None:
        self.data = data

    @property
    def lanes(self) -> int:
        """Float32 lanes of a vector."""
        return self.data.lanes

    @property
    def byte_lanes(self) -> int:
        """Bytes that `add_bytes` takes at once."""
        return self.data.byte_lanes

    @property
    def look_lanes(self) -> int:
        """Bytes that `look_up` takes at once; 0 where it takes none, and looking up is scalar work."""
        return self.data.look_lanes

    @property
    def head_side(self) -> int:
        """Registers of a head's keys and values that are packed side by side, where loads take several."""
        return self.data.head_side

    @property
    def code_vectors(self) -> int:
        """Neighbouring vectors that `narrow` takes well together."""
        return max(4, 32 // self.lanes)

    @abstractmethod
    def dot(self, w_peak: int, a_bits: int, side: int = 1) -> Dot:
        """The multiply-add of signed codes of a_bits with codes of magnitude up to w_peak.

        Args:
            side: registers of weights that are packed side by side.
        """

    def weight_dot(self, w_peak: int, a_bits: int) -> Dot:
        """The multiply-add of activations with stored weights, whose layout is the compiler's to choose."""
        return self.dot(w_peak, a_bits, self.data.side)

    def unsigned_dot(self, w_peak: int, side: int = 1) -> Dot:
        """The multiply-add of unsigned bytes with codes of magnitude up to w_peak; where it wants signed bytes, of 128 less."""
        return self.dot(w_peak, 8, side)

    @abstractmethod
    def narrow(self, values: list[Expr], low: Expr, high: Expr, *, signed: bool = True) -> Iterator[tuple[int, int, Expr]]:
        """sat(rne(v)) of neighbouring vectors as bytes: (first lane, lanes, codes), each as long as can be.

        Args:
            values: float32 [lanes] each, no NaN.
            low, high: float32 scalars, the range to saturate to: whole numbers within that of the bytes.
            signed: int8 codes, else uint8.
        """

    def lay_out(self, table: Any) -> Any:
        """A table [256] int8 or uint8 as `look_up` reads it; written before a kernel's parallel loops."""
        return table

    def look_up(self, table: Any, index: Expr) -> Expr:
        """table[index] of uint8 [look_lanes]; table: what `lay_out` made."""
        raise NotImplementedError

    @abstractmethod
    def add_bytes(self, total: Expr, values: Expr) -> Expr:
        """total, int32 [lanes], plus the bytes, uint8 [byte_lanes]; in which lane each is added is the level's own."""

    def enter(self) -> None:
        """Write what each thread does before it multiplies."""
        _call(self.data.enter)

    def leave(self) -> None:
        """Write what each thread does after it multiplied."""
        _call(self.data.leave)

    @property
    def hooked(self) -> bool:
        """Whether there is anything to do before and after."""
        return bool(self.data.enter or self.data.leave)


class Generic(Level):
    """Codes by instructions that LLVM chooses."""

    def narrow(self, values: list[Expr], low: Expr, high: Expr, *, signed: bool = True) -> Iterator[tuple[int, int, Expr]]:
        """sat(rne(v)) of neighbouring vectors as bytes; clamped as float first, where integers could be left."""
        dtype = "int8" if signed else "uint8"
        floor, ceiling = (T.broadcast(x, self.lanes) for x in (low, high))
        for i, value in enumerate(values):
            inside = tirx.min(tirx.max(value, floor), ceiling)
            yield i * self.lanes, self.lanes, T.Cast(f"{dtype}x{self.lanes}", T.round(inside))

    def add_bytes(self, total: Expr, values: Expr) -> Expr:
        """total, int32 [lanes], plus as many bytes."""
        return total + T.Cast(f"int32x{self.lanes}", values)


LEVELS = Registry[str, Level]("CPU level", "lampq_tvm.kernels.isa", UnsupportedError)
L = TypeVar("L", bound=type[Level])


def emits(name: str) -> Callable[[L], L]:
    """A decorator of the class that writes a level's kernels."""

    def keep(kind: L) -> L:
        LEVELS.add(name, kind(CPU_LEVELS[name]))
        return kind

    return keep


def _call(intrinsics: tuple[str, ...]) -> None:
    for name in intrinsics:
        T.evaluate(T.call_llvm_intrin(T.llvm_lookup_intrinsic_id(name), dtype="void"))
