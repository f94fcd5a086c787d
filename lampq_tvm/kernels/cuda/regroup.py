"""Tokens in another order, in windows, or several joined to one: codes, float16 or float32 values, as they come in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import CudaKernel, argument, i32, put, u32
from lampq_tvm.kernels.cuda.operand import row_words
from lampq_tvm.kernels.cuda.sink import joined
from lampq_tvm.kernels.cuda.tokens import elementwise

ITEMS = {8: "int8", 16: "uint16", 32: "uint32"}  # by the bits of an element
FULL = 32  # bits of a word


@dataclass(frozen=True)
class RegroupShape:
    """What a regrouping kernel is built for.

    Attributes:
        images: of the batch.
        rows, taken: tokens of an image before and after.
        parts: tokens that are joined to one.
        channels: of a token before.
        bits: of an element: 8, 16 or 32; out_bits: the same, or 4 for codes that products read as nibbles.
    """

    images: int
    rows: int
    taken: int
    parts: int
    channels: int
    bits: int
    out_bits: int

    @property
    def key(self) -> str:
        """Short text that names the shape."""
        sizes = (self.images, self.rows, self.taken, self.parts, self.channels, self.bits, self.out_bits)
        return "_".join(map(str, sizes))


def build_regroup(shape: RegroupShape, name: str = "regroup") -> CudaKernel:
    """out[b, t, part * C + c] = x[b, index[t, part], c], or fill[0] where the index is -1.

    Buffers: x [images * rows, C], rows of codes and float16 values at multiples of 16 bytes: words uint32 where whole words
    move, else elements; index [taken, parts] int32; fill [1] of an element; out [images * taken, words] uint32. What lies
    beyond a row's last element repeats some of it.
    """
    s = shape
    per, width = FULL // s.out_bits, s.parts * s.channels
    words, whole = row_length(width, s.out_bits), s.bits == s.out_bits and s.channels % per == 0

    def declare() -> Callable[[Expr], None]:
        item_bits = FULL if whole else s.bits
        x = argument("x", (s.images * s.rows, row_length(s.channels, s.bits) * FULL // item_bits), ITEMS[item_bits])
        index = argument("index", (s.taken, s.parts), "int32")
        fill = argument("fill", (1,), ITEMS[s.bits])
        out = argument("out", (s.images * s.taken, words), "uint32")

        def element(row: Expr, channel: Expr, size: int) -> Expr:
            """`size` neighbours of a row as an item of x."""
            token = index[row % s.taken, channel // s.channels]
            source = row // s.taken * s.rows + T.max(token, i32(0))
            filler = _repeated(fill, s.bits) if size > 1 else fill[0]
            return T.Select(token < 0, filler, x[source, channel % s.channels // size])

        def work(item: Expr) -> None:
            row, first = item // words, item % words * per
            if whole:
                put(out, (row, item % words), element(row, T.min(first, i32(width - per)), per))
                return
            codes = [T.Cast("uint32", element(row, T.min(first + i, i32(width - 1)), 1)) for i in range(per)]
            (word,) = joined(codes, s.out_bits)
            put(out, (row, item % words), word)

        return work

    return elementwise(name, s.images * s.taken * words, declare)


def row_length(elements: int, bits: int) -> int:
    """Words of a row in memory."""
    return elements if bits == FULL else row_words(elements, bits)


def _repeated(fill: Any, bits: int) -> Expr:
    """An element as often as a word holds it."""
    one = T.bitwise_and(T.Cast("uint32", fill[0]), u32((1 << bits) - 1))
    return one * u32(sum(1 << at for at in range(0, FULL, bits)))
