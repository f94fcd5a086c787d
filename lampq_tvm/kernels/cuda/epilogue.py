"""What becomes of a product's sums: codes, a table's codes, float16 values, or float32 onto a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import argument, codes_of, f32, i32, put, registers, u32, when
from lampq_tvm.kernels.cuda.half import activate, two_halves
from lampq_tvm.kernels.cuda.mma import COLUMNS, ROWS, Mma
from lampq_tvm.kernels.shapes import ProductShape, round_up

HALF = 16  # bits of a float16 value
CODED = ("codes", "table", "act")  # epilogues that pack their values
PAIRS = {4: "uint8", 8: "uint16", HALF: "uint32"}  # what holds two neighbours


@dataclass(frozen=True)
class Epilogue:
    """The epilogue's buffers; those that its kind does not have are None."""

    shape: ProductShape
    out_bits: int
    prefix: int
    act: str
    scale: Any
    shift: Any
    affine: Any
    bounds: Any
    added: Any
    table: Any
    out: Any

    @classmethod
    def arguments(cls, shape: ProductShape, out_bits: int, prefix: int, act: str) -> Epilogue:
        """Declare the kernel's remaining buffers, in the order of `build_product`."""
        kind = shape.epilogue
        scale, shift = (argument(name, (shape.n,), "float32") for name in ("S", "B"))
        affine = argument("affine", (2,), "float32") if kind == "act" and out_bits < HALF else None
        bounds = argument("range", (2,), "float32") if kind in ("codes", "act") and out_bits < HALF else None
        table = argument("table", (256,), "int8" if out_bits < HALF else "uint16") if kind == "table" else None
        added = argument("pos", (shape.period, shape.n), "float32") if kind == "stream" else None
        rows = shape.rows + (shape.rows // shape.period * prefix if prefix else 0)
        coded = kind in CODED
        out = code_matrix("out", rows, shape.n, out_bits) if coded else argument("out", (rows, shape.n), "float32")
        added = out if kind == "residual" else added
        return cls(shape, out_bits, prefix, act, scale, shift, affine, bounds, added, table, out)

    def write(self, acc: Any, mma: Mma, row: Expr, column: Expr, rows: int, columns: int, lane: Expr) -> None:
        """Write a warp's tile.

        Args:
            acc: sums of 16 x 8 tiles, row by row, in the registers of `mma`.
            mma: what made them: they come times 2^`shift`.
            row, column: where the warp's tile begins.
            rows, columns: of the warp's tile.
        """
        constants = registers(4, "float32")
        low, high = (f32(-128), f32(127)) if self.bounds is None else (self.bounds[0], self.bounds[1])
        bounds = registers(2, "float32")
        put(bounds, 0, low)
        put(bounds, 1, high)
        # Rows of float16 values are filled up: what follows the last one meets weights of zero, but must be finite.
        wide = round_up(self.shape.n, 8) if self.out_bits == HALF and self.shape.epilogue in CODED else self.shape.n
        for j in range(columns // COLUMNS):
            n = column + j * COLUMNS + lane % 4 * 2
            for x in range(2):
                put(constants, x, self.scale[tirx.min(n + x, i32(self.shape.n - 1))])
                put(constants, 2 + x, self.shift[tirx.min(n + x, i32(self.shape.n - 1))])
            for i in range(rows // ROWS):
                for half in range(2):
                    m = row + i * ROWS + half * 8 + lane // 4
                    first = 4 * (i * (columns // COLUMNS) + j) + 2 * half
                    with when(T.And(m < self.shape.rows, n < wide)):
                        sums = [_float_sum(acc[first + x], mma) for x in range(2)]
                        values = [T.fma(s, constants[x], constants[2 + x]) for x, s in enumerate(sums)]
                        self._pair(values, bounds, m, n)

    def _pair(self, values: list[Expr], bounds: Any, m: Expr, n: Expr) -> None:
        """Two neighbours of a row."""
        if self.shape.epilogue not in CODED:
            for x, value in enumerate(values):
                with when(n + x < self.shape.n if x and self.shape.n % 2 else None):
                    put(self.out, (self._out_row(m), n + x), self._added(value, m, n + x))
            return
        if self.shape.epilogue == "act":
            values = self._activated(values)
        if self.table is None:
            put(self.out, (m, n // 2), packed_pair(values, bounds, self.out_bits))
            return
        codes = [codes_of(value, bounds[0], bounds[1]) for value in values]
        entries = [T.Cast("int32", self.table[code + 128]) for code in codes]  # the bits of a float16 value, too
        put(self.out, (m, n // 2), two_codes(entries, self.out_bits))

    def _activated(self, values: list[Expr]) -> list[Expr]:
        """The activation function's values, times 1/s plus z where codes come out."""
        x = registers(2, "float32")
        for i, value in enumerate(values):
            put(x, i, value)
            put(x, i, activate(self.act, x[i]))
        return [x[i] if self.affine is None else T.fma(x[i], self.affine[0], self.affine[1]) for i in range(2)]

    def _out_row(self, m: Expr) -> Expr:
        """Where a row goes: an image's prefix tokens come before its patches."""
        return m + (m // self.shape.period + 1) * self.prefix if self.prefix else m

    def _added(self, value: Expr, m: Expr, n: Expr) -> Expr:
        """fl(stream + value), the position's row for a patch embedding, or the value."""
        if self.added is None:
            return value
        row = m % self.shape.period if self.shape.epilogue == "stream" else m
        return self.added[row, n] + value


def _float_sum(word: Expr, mma: Mma) -> Expr:
    """A sum as float32."""
    if mma.sums == "float32":
        return word
    total = T.reinterpret(word, dtype="int32")
    return T.Cast("float32", T.shift_right(total, i32(mma.shift)) if mma.shift else total)


def packed_pair(values: list[Expr], bounds: Any, bits: int) -> Expr:
    """Two neighbours as they lie in memory, from values in units of the codes."""
    if bits == HALF:
        return two_halves(values)
    return two_codes([codes_of(value, bounds[0], bounds[1]) for value in values], bits)


def two_codes(codes: list[Expr], bits: int) -> Expr:
    """Two neighbouring codes as they lie in memory: uint16, uint8 for 4-bit ones, uint32 for bits of float16 values."""
    a, b = (T.bitwise_and(T.reinterpret(code, dtype="uint32"), u32((1 << bits) - 1)) for code in codes)
    word = T.bitwise_or(a, T.shift_left(b, u32(bits)))
    return word if bits == HALF else T.Cast(PAIRS[bits], word)


def code_matrix(name: str, rows: int, codes: int, bits: int) -> Any:
    """The argument [rows, codes] of packed codes, two an element, rows at multiples of 16 bytes."""
    return argument(name, (rows, round_up(codes * bits, 128) // (2 * bits)), PAIRS[bits])
