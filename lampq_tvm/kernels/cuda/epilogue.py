"""What becomes of a product's sums: codes, a table's codes, float16 values, or float32 onto a stream."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import Threads, argument, at, bytes_of, codes_of, f32, i32, move, put, registers, u32, when
from lampq_tvm.kernels.cuda.half import activate, two_halves
from lampq_tvm.kernels.cuda.mma import COLUMNS, ROWS, Mma
from lampq_tvm.kernels.cuda.turned import Turned, Turning
from lampq_tvm.kernels.shapes import ProductShape, round_up

HALF = 16  # bits of a float16 value
TABLE_WORDS = 128  # that a table takes at most
LOOKUPS = {
    f"lampq_{name}": f"""
__forceinline__ __device__ uint lampq_{name}(const uint* words, uint i) {{
  return ((const u{item}*)words)[i];
}}
"""
    for name, item in (("byte", "char"), ("short", "short"))
}
CODED = ("codes", "table", "act", "turned")  # epilogues that pack their values
PIECES = (8, 4, 2, 1)  # neighbours that are written at a time
Halves = list[tuple[int, int]]  # tiles of 16 rows, and which 8 rows of them


class SharedTable:
    """256 entries of a byte, or of a float16 value, that lie in shared memory: there lanes look up different ones at once.

    Args:
        source: the argument, in words.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._place: Expr | None = None

    def fill(self, memory: Any, first: int, threads: Threads) -> None:
        """Copy it, from word `first` of shared memory on."""
        words = int(self._source.shape[0])
        for start in range(0, words, threads.count):
            word = threads.index + start
            with when(None if start + threads.count <= words else word < words):
                put(memory, first + word, self._source[word])
        self._place = at(memory, i32(first))

    def entry(self, place: Expr) -> Expr:
        """The entry's bits as a word."""
        name = "lampq_byte" if int(self._source.shape[0]) < TABLE_WORDS else "lampq_short"
        return T.cuda.func_call(name, self._place, place, source_code=LOOKUPS[name], return_type="uint32")


@dataclass(frozen=True)
class Epilogue:
    """The epilogue's buffers, those that its kind does not have None; `size` neighbours of a row are written at a time."""

    shape: ProductShape
    out_bits: int
    prefix: int
    act: str
    size: int
    scale: Any
    shift: Any
    affine: Any
    bounds: Any
    added: Any
    table: SharedTable | None
    turned: Turned | None
    out: Any

    @classmethod
    def arguments(
        cls, shape: ProductShape, out_bits: int, prefix: int, act: str, turning: Turning | None, columns: int
    ) -> Epilogue:
        """Declare the kernel's remaining buffers, in the order of `build_product`; `columns` are those of a warp's tile."""
        kind = shape.epilogue
        scale, shift = (argument(name, (shape.n,), "float32") for name in ("S", "B"))
        affine = argument("affine", (2,), "float32") if kind == "act" and out_bits < HALF else None
        bounds = argument("range", (2,), "float32") if kind in CODED and kind != "table" and out_bits < HALF else None
        turned = None if turning is None else Turned.declare(turning)
        table = None
        if kind == "table":
            table = SharedTable(argument("table", (TABLE_WORDS if out_bits == HALF else TABLE_WORDS // 2,), "uint32"))
        added = argument("pos", (shape.period, shape.n), "float32") if kind == "stream" else None
        rows = shape.rows + (shape.rows // shape.period * prefix if prefix else 0)
        per = columns // 4
        if kind in CODED:
            of = per if turning is None else math.gcd(per, turning.head_dim)  # neighbours are of one head
            size = next(size for size in PIECES if of % size == 0)
            out: Any = CodeRows.declare("out", rows, shape.n, out_bits, size)
        else:
            size = next(size for size in PIECES if per % size == 0 and shape.n % size == 0)
            out = argument("out", (rows, shape.n), "float32")
        added = out if kind == "residual" else added
        return cls(shape, out_bits, prefix, act, size, scale, shift, affine, bounds, added, table, turned, out)

    def prepare(self, memory: Any, first: int, threads: Threads) -> None:
        """Copy the table into shared memory, from word `first` on; seen after the next barrier."""
        if self.table is not None:
            self.table.fill(memory, first, threads)

    def write(self, acc: Any, mma: Mma, corner: tuple[Expr, Expr], columns: int, halves: Halves, lane: Expr) -> None:
        """Write a warp's tile, or some of its rows.

        Args:
            acc: sums of 16 x 8 tiles, row by row, in the registers of `mma`; columns stand in the order of `mma.neighbours`.
            mma: what made them: they come times 2^`shift`.
            corner: row and column at which the warp's tile begins.
            columns: of the warp's tile.
            halves: tiles of 16 rows, and which 8 of them.
        """
        per = columns // 4
        size = self.size
        # Rows of codes are filled up: what follows the last one meets weights of zero, but float16 values must be finite.
        wide = round_up(self.shape.n, 8) if self.shape.epilogue in CODED else self.shape.n
        scale, shift, bounds = (registers(count, "float32") for count in (size, size, 2))
        for i, bound in enumerate((f32(-128), f32(127)) if self.bounds is None else (self.bounds[0], self.bounds[1])):
            put(bounds, i, bound)
        for first in range(0, per, size):
            n = corner[1] + lane % 4 * per + first
            self._load(scale, self.scale, n)
            self._load(shift, self.shift, n)
            for i, half in halves:
                m = corner[0] + i * ROWS + half * 8 + lane // 4
                places = [4 * (i * (columns // COLUMNS) + c // 2) + 2 * half + c % 2 for c in range(first, first + size)]
                with when(T.And(m < self.shape.rows, n < wide)):
                    sums = [_float_sum(acc[place], mma) for place in places]
                    self._write([T.fma(s, scale[x], shift[x]) for x, s in enumerate(sums)], bounds, m, n)

    def _load(self, found: Any, constants: Any, n: Expr) -> None:
        """found[x] = constants[n + x]; beyond the last channel that one again."""
        size = int(found.shape[0])
        if self.shape.n % size:
            for x in range(size):
                put(found, x, constants[tirx.min(n + x, i32(self.shape.n - 1))])
            return
        n = tirx.min(n, i32(self.shape.n - size))
        move(constants, (n,), found, (i32(0),), size)

    def _write(self, values: list[Expr], bounds: Any, m: Expr, n: Expr) -> None:
        """Neighbours of a row."""
        size = len(values)
        if self.shape.epilogue not in CODED:
            line = registers(size, "float32")
            if self.added is not None:
                row = m % self.shape.period if self.shape.epilogue == "stream" else m
                move(self.added, (row, n), line, (i32(0),), size)
            for x, value in enumerate(values):
                put(line, x, value if self.added is None else line[x] + value)
            move(line, (i32(0),), self.out, (self._out_row(m), n), size)
            return
        if self.shape.epilogue == "act":
            values = self._activated(values)
        if self.turned is not None:
            values = self.turned.values(values, m, n)
        if self.table is None:
            self.out.put(m, n, packed(values, bounds, self.out_bits))
            return
        places = [T.bitwise_and(codes_of(value, bounds[0], bounds[1]) + u32(128), u32(255)) for value in values]
        self.out.put(m, n, joined([self.table.entry(place) for place in places], self.out_bits))

    def _activated(self, values: list[Expr]) -> list[Expr]:
        """The activation function's values, times 1/s plus z where codes come out."""
        x = registers(len(values), "float32")
        for i, value in enumerate(values):
            put(x, i, value)
            put(x, i, activate(self.act, x[i]))
        return [x[i] if self.affine is None else T.fma(x[i], self.affine[0], self.affine[1]) for i in range(len(values))]

    def _out_row(self, m: Expr) -> Expr:
        """Where a row goes: an image's prefix tokens come before its patches."""
        return m + (m // self.shape.period + 1) * self.prefix if self.prefix else m


def _float_sum(word: Expr, mma: Mma) -> Expr:
    """A sum as float32."""
    if mma.sums == "float32":
        return word
    total = T.reinterpret(word, dtype="int32")
    return T.Cast("float32", T.shift_right(total, i32(mma.shift)) if mma.shift else total)


def packed(values: list[Expr], bounds: Any, bits: int) -> list[Expr]:
    """Neighbours as they lie in memory, from values in units of the codes: words, or one shorter item."""
    if bits == HALF:
        return [two_halves(values[i : i + 2]) for i in range(0, len(values), 2)]
    return joined([codes_of(value, bounds[0], bounds[1]) for value in values], bits)


def joined(codes: list[Expr], bits: int) -> list[Expr]:
    """Neighbours as they lie in memory, from the low bits of words: words, or one shorter item."""
    mask, words = u32((1 << bits) - 1), []
    for first in range(0, len(codes), 32 // bits):
        items = codes[first : first + 32 // bits]
        if bits == 8 and len(items) == 4:
            words.append(bytes_of(items))
            continue
        word = T.bitwise_and(items[0], mask)
        for i, item in enumerate(items[1:], 1):
            word = T.bitwise_or(word, T.shift_left(T.bitwise_and(item, mask), u32(bits * i)))
        words.append(word)
    return words


@dataclass(frozen=True)
class CodeRows:
    """Rows of packed codes (or float16 values) at multiples of 16 bytes, written `size` neighbours at a time."""

    buffer: Any
    bits: int
    size: int

    @classmethod
    def declare(cls, name: str, rows: int, codes: int, bits: int, size: int) -> CodeRows:
        """Declare the kernel's argument: [rows, items] of words, or of shorter items where `size` neighbours are shorter."""
        item = min(32, bits * size)
        return cls(argument(name, (rows, round_up(codes * bits, 128) // item), f"uint{item}"), bits, size)

    def put(self, row: Expr, code: Expr, items: list[Expr]) -> None:
        """Write neighbours (what `packed` or `joined` made of them) that begin at a row's code, a multiple of `size`."""
        item = min(32, self.bits * self.size)
        place = code // (item // self.bits)
        if len(items) == 1:
            put(self.buffer, (row, place), items[0] if item == 32 else T.Cast(f"uint{item}", items[0]))
            return
        line = registers(len(items))
        for i, word in enumerate(items):
            put(line, i, word)
        move(line, (i32(0),), self.buffer, (row, place), len(items))
