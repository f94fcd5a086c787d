"""Arm: `fcvtns` rounds and converts with saturation, `sqxtn` halves with saturation, `tbl` looks 64 bytes up at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import llvm, pick
from lampq_tvm.kernels.isa.dot import Dot
from lampq_tvm.kernels.isa.level import Level


class Quads(Dot):
    """What the multiply-adds have in common: registers of four int32 sums, panels of whole loads."""

    @property
    def acc_lanes(self) -> int:
        """int32 lanes of an accumulator register."""
        return 4

    @property
    def row_block(self) -> int:
        """Rows of a panel are padded to a multiple of it."""
        return 4


class Arm(Level):
    """What every aarch64 core has."""

    def narrow(self, values: list[Expr], low: Expr, high: Expr, *, signed: bool = True) -> Iterator[tuple[int, int, Expr]]:
        """sat(rne(v)) of neighbouring vectors as bytes; every step saturates, so nothing is clamped as float."""
        dtype = "int8" if signed else "uint8"
        convert, half = ("fcvtns", "sqxtn") if signed else ("fcvtnu", "uqxtn")
        wide = "int" if signed else "uint"
        first = 0
        while first < len(values):
            count = max(size for size in (4, 2, 1) if size <= len(values) - first)
            quads = [llvm(f"llvm.aarch64.neon.{convert}.v4i32.v4f32", f"{wide}32x4", v) for v in values[first : first + count]]
            halves = [llvm(f"llvm.aarch64.neon.{half}.v4i16", f"{wide}16x4", v) for v in quads] * (2 if count == 1 else 1)
            eights = [
                llvm(f"llvm.aarch64.neon.{half}.v8i8", f"{dtype}x8", pick([a, b], list(range(8))))
                for a, b in zip(halves[::2], halves[1::2], strict=True)
            ]
            found = pick(eights, list(range(16))) if count == 4 else eights[0]
            size = max(4 * count, 8)
            floor, ceiling = (T.broadcast(T.Cast(dtype, x), size) for x in (low, high))
            inside = tirx.min(tirx.max(found, floor), ceiling)
            yield 4 * first, 4 * count, inside if count > 1 else _low_word(inside, dtype)
            first += count

    def look_up(self, table: Any, index: Expr) -> Expr:
        """table[index] of uint8 [16]: an index outside a quarter of the table leaves what was there."""
        found = None
        for quarter in range(4):
            entries = [table.vload([64 * quarter + 16 * i], f"{table.dtype}x16") for i in range(4)]
            if found is None:
                found = llvm("llvm.aarch64.neon.tbl4.v16i8", f"{table.dtype}x16", *entries, index)
            else:
                inside = index - T.broadcast(tirx.const(64 * quarter, "uint8"), 16)
                found = llvm("llvm.aarch64.neon.tbx4.v16i8", f"{table.dtype}x16", found, *entries, inside)
        assert found is not None
        return found

    def add_bytes(self, total: Expr, values: Expr) -> Expr:
        """total int32 [4] plus the bytes uint8 [16], four in each lane."""
        pairs = llvm("llvm.aarch64.neon.uaddlp.v8i16.v16i8", "int16x8", values)
        return total + llvm("llvm.aarch64.neon.uaddlp.v4i32.v8i16", "int32x4", pairs)


def _low_word(codes: Expr, dtype: str) -> Expr:
    """The first four of eight bytes, taken as a word: LLVM would widen arithmetic on four bytes to 16 bits."""
    return T.reinterpret(pick([T.reinterpret(codes, dtype="int32x2")], [0]), dtype=f"{dtype}x4")


class Dotting(Arm):
    """Cores with a dot product, which adds up bytes as well."""

    def add_bytes(self, total: Expr, values: Expr) -> Expr:
        """total int32 [4] plus the bytes uint8 [16], four in each lane."""
        ones = T.broadcast(tirx.const(1, "uint8"), 16)
        return llvm("llvm.aarch64.neon.udot.v4i32.v16i8", "int32x4", total, values, ones)
