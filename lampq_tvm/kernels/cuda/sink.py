"""The one place where CUDA kernels make codes: rounded and clamped, looked up where a table decodes them, packed as they lie
in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import Threads, argument, at, bytes_of, codes_of, f32, i32, move, put, registers, u32, when
from lampq_tvm.kernels.cuda.half import two_halves
from lampq_tvm.kernels.shapes import round_up
from lampq_tvm.kinds import Kind

TABLE_WORDS = 128  # that a table takes at most
LOOKUPS = {
    f"lampq_{name}": f"""
__forceinline__ __device__ uint lampq_{name}(const uint* words, uint i) {{
  return ((const u{item}*)words)[i];
}}
"""
    for name, item in (("byte", "char"), ("short", "short"))
}


class Table:
    """256 entries of a byte, or of a float16 value.

    Args:
        source: the argument, in words.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._place: Expr | None = None

    @classmethod
    def declare(cls, kind: Kind, name: str = "table") -> Table:
        """Declare the kernel's argument, whose entries are of a kind."""
        return cls(argument(name, (TABLE_WORDS if kind.is_float else TABLE_WORDS // 2,), "uint32"))

    def fill(self, memory: Any, first: int, threads: Threads) -> None:
        """Copy it into shared memory, from word `first` on: there lanes look up different entries at once."""
        words = int(self._source.shape[0])
        for start in range(0, words, threads.count):
            word = threads.index + start
            with when(None if start + threads.count <= words else word < words):
                put(memory, first + word, self._source[word])
        self._place = at(memory, i32(first))

    def entry(self, place: Expr) -> Expr:
        """The entry's bits as a word."""
        name = "lampq_byte" if int(self._source.shape[0]) < TABLE_WORDS else "lampq_short"
        where = at(self._source, i32(0)) if self._place is None else self._place
        return T.cuda.func_call(name, where, place, source_code=LOOKUPS[name], return_type="uint32")


@dataclass(frozen=True)
class CodeSink:
    """How values in units of codes are stored.

    Attributes:
        kind: of what lies in memory: int8, int4 (two codes a byte) or float16.
        bounds: lowest and highest code, two float32; of float16 values None.
        table: whose entry at (8-bit code + 128) is stored instead.
    """

    kind: Kind
    bounds: Any = None
    table: Table | None = None

    @classmethod
    def declare(cls, kind: Kind, *, table: bool = False, name: str | None = None) -> CodeSink:
        """Declare the kernel's argument: `range` [2] f32, or `table` as words; of float16 values without a table there is none.

        Args:
            name: another name of it.
        """
        if table:
            return cls(kind, None, Table.declare(kind, name or "table"))
        return cls(kind, None if kind.is_float else argument(name or "range", (2,), "float32"))

    def held(self) -> CodeSink:
        """The same with its bounds in registers."""
        if self.bounds is None:
            return self
        bounds = registers(2, "float32")
        for i in range(2):
            put(bounds, i, self.bounds[i])
        return CodeSink(self.kind, bounds, self.table)

    def codes(self, values: list[Expr]) -> list[Expr]:
        """Words whose low bits are what is stored of each value; not of float16 values without a table."""
        low, high = (f32(-128), f32(127)) if self.bounds is None else (self.bounds[0], self.bounds[1])
        found = [codes_of(value, low, high) for value in values]
        if self.table is None:
            return found
        return [self.table.entry(T.bitwise_and(code + u32(128), u32(255))) for code in found]

    def packed(self, values: list[Expr]) -> list[Expr]:
        """Neighbours as they lie in memory: words, or one shorter item."""
        if self.kind.is_float and self.table is None:
            return [two_halves(values[i : i + 2]) for i in range(0, len(values), 2)]
        return joined(self.codes(values), self.kind.bits)


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
    def declare(cls, name: str, rows: int, codes: int, kind: Kind, size: int) -> CodeRows:
        """Declare the kernel's argument: [rows, items] of words, or of shorter items where `size` neighbours are shorter."""
        item = min(32, kind.bits * size)
        return cls(argument(name, (rows, round_up(codes * kind.bits, 128) // item), f"uint{item}"), kind.bits, size)

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
