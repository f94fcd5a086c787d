"""A warp's multiply-add on tensor cores: 16 rows by 8 columns over 8 words of K.

Registers follow the PTX manual ("Matrix Fragments for mma.m16n8k32", and the same in words for m16n8k64). With g = lane / 4
and q = lane % 4: a[0], a[1], a[2], a[3] are words q of rows g and g + 8, then words q + 4 of both; b[0], b[1] are words q and
q + 4 of column g; acc[0], acc[1] are columns 2q and 2q + 1 of row g, acc[2], acc[3] those of row g + 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import at, ptx, u32
from lampq_tvm.kinds import Kind

ROWS, COLUMNS, STEP = 16, 8, 8  # of an instruction: rows, columns, words of K
HIGH_NIBBLES = 0xF0F0F0F0


def neighbours(place: Any, columns: int) -> Any:
    """The column that stands in a place of each `columns`, so that a lane's sums belong to columns / 4 neighbours.

    A lane's registers hold places 2q and 2q + 1 of each 8 (q = lane % 4). With the columns put in this order they stand for
    the columns q * columns / 4 and following, which an epilogue writes in one piece.

    >>> [neighbours(place, 16) for place in range(8)]
    [0, 1, 4, 5, 8, 9, 12, 13]
    """
    inside = place % columns
    return place - inside + inside % COLUMNS // 2 * (columns // 4) + inside // COLUMNS * 2 + inside % 2


@dataclass(frozen=True)
class Mma:
    """How codes of two widths are multiplied.

    Attributes:
        name: `s8` (both operands in bytes), `s4` (both in nibbles), `w4a8` (weights in nibbles, widened in registers) or
            `f16` (float16 values).
        a_bits, w_bits: bits that a code takes in memory.
    """

    asynchronous: ClassVar[bool] = True  # copies into shared memory that do not wait
    sums: ClassVar[str] = "uint32"  # type of the sums' registers
    large: ClassVar[bool] = True  # whether large tiles pay
    pad: ClassVar[int] = 4  # words between rows in shared memory: eight rows of 16 bytes then lie in different banks
    a_registers: ClassVar[int] = 4  # of 16 rows and a step
    b_registers: ClassVar[int] = 2  # of 8 columns and a step

    name: str
    a_bits: int
    w_bits: int

    @property
    def codes(self) -> Kind:
        """What the left operand is made of, in memory."""
        return Kind.FLOAT16 if self.name == "f16" else Kind.of_codes(self.a_bits)

    @property
    def w_step(self) -> int:
        """Words of a weight row in a step."""
        return STEP * self.w_bits // self.a_bits

    @property
    def shift(self) -> int:
        """Sums come out times 2^shift: nibbles are widened into the upper half of their bytes."""
        return 4 if self.name == "w4a8" else 0

    @property
    def columns(self) -> int:
        """Columns that `load_b` loads at a time."""
        return 32 if self.name == "w4a8" else 16

    def load_a(self, a: Any, first: int, memory: Any, row: Expr, pitch: int, lane: Expr) -> None:
        """a[first..first+3]: 16 rows of 8 words that begin at word `row` of shared memory, rows `pitch` words apart."""
        word = row + lane % 16 * pitch + lane // 16 * 4
        ptx("ldmatrix.sync.aligned.m8n8.x4.shared.b16", *(a[first + i] for i in range(4)), at(memory, word))

    def load_b(self, b: Any, first: int, memory: Any, row: Expr, pitch: int, lane: Expr) -> None:
        """b[first..]: two words for each 8 of the `columns` weight rows that begin at word `row` of shared memory."""
        if self.name != "w4a8":
            word = row + (lane // 16 * 8 + lane % 8) * pitch + lane % 16 // 8 * 4
            ptx("ldmatrix.sync.aligned.m8n8.x4.shared.b16", *(b[first + i] for i in range(4)), at(memory, word))
            return
        packed = [b[first + 2 * i + 1] for i in range(4)]
        ptx("ldmatrix.sync.aligned.m8n8.x4.shared.b16", *packed, at(memory, row + lane * pitch))
        for i in range(4):
            low, high = first + 2 * i, first + 2 * i + 1
            T.buffer_store(b, T.bitwise_and(T.shift_left(b[high], u32(4)), u32(HIGH_NIBBLES)), [low])
            T.buffer_store(b, T.bitwise_and(b[high], u32(HIGH_NIBBLES)), [high])

    def multiply(self, acc: Any, c: int, a: Any, i: int, b: Any, j: int, lane: Expr, unsigned: bool = False) -> None:
        """acc[c..c+3] += a[i..i+3] times b[j], b[j+1]; a's codes are unsigned where that is said."""
        out, rows = [acc[c + x] for x in range(4)], [a[i + x] for x in range(4)]
        shape = "m16n8k64" if self.name == "s4" else "m16n8k32"
        ptx(f"mma.sync.aligned.{shape}.row.col.s32.{self.kinds(unsigned)}.s32", *out, *rows, b[j], b[j + 1], *out)

    def kinds(self, unsigned: bool) -> str:
        """The operands' types in an instruction's name."""
        return ("u" if unsigned else "s") + ("4.s4" if self.name == "s4" else "8.s8")

    def settle(self, acc: Any, memory: Any, word: Expr, rows: int, columns: int, lane: Expr) -> None:
        """Bring sums into the registers' order where the instruction has one of its own; each warp has its `scratch_words`."""

    def scratch_words(self, rows: int, columns: int) -> int:
        """Words of shared memory that a warp needs to settle a tile."""
        return 0


@dataclass(frozen=True)
class TuringMma(Mma):
    """Without asynchronous copies and with smaller instructions (sm_75), whose fragments are parts of the large ones."""

    asynchronous: ClassVar[bool] = False

    def multiply(self, acc: Any, c: int, a: Any, i: int, b: Any, j: int, lane: Expr, unsigned: bool = False) -> None:
        """acc[c..c+3] += a[i..i+3] times b[j], b[j+1], 8 rows and 4 words of K at a time."""
        shape = "m8n8k32" if self.name == "s4" else "m8n8k16"
        for half in range(2):
            for part in range(2):
                out = [acc[c + 2 * half], acc[c + 2 * half + 1]]
                name = f"mma.sync.aligned.{shape}.row.col.s32.{self.kinds(unsigned)}.s32"
                ptx(name, *out, a[i + half + 2 * part], b[j + part], *out)
