"""A warp's operands in registers."""

from __future__ import annotations

from typing import Any

from tvm.ir import Expr

from lampq_tvm.kernels.cuda.emit import registers
from lampq_tvm.kernels.cuda.mma import COLUMNS, ROWS, Mma


class Fragments:
    """The operands of a warp's tile for eight words of K.

    Args:
        mma: the multiply-add.
        memory: the block's shared memory in words.
        m, n: tiles of 16 rows and of 8 columns.
        a_pitch, w_pitch: words between rows in shared memory.
        lane: of the warp.
    """

    def __init__(self, mma: Mma, memory: Any, m: int, n: int, a_pitch: int, w_pitch: int, lane: Expr) -> None:
        self._mma, self._memory, self._lane = mma, memory, lane
        self._m, self._n, self._a_pitch, self._w_pitch = m, n, a_pitch, w_pitch
        self._a = registers(m * mma.a_registers)
        self._b = registers(n * mma.b_registers)

    def load(self, a_word: Expr, w_word: Expr) -> None:
        """Fill them from rows that begin at these words of shared memory."""
        mma, memory, lane = self._mma, self._memory, self._lane
        for i in range(self._m):
            mma.load_a(self._a, mma.a_registers * i, memory, a_word + i * ROWS * self._a_pitch, self._a_pitch, lane)
        for j in range(0, self._n, mma.columns // COLUMNS):
            w_first = w_word + j * COLUMNS * self._w_pitch
            mma.load_b(self._b, mma.b_registers * j, memory, w_first, self._w_pitch, lane)

    def multiply(self, acc: Any) -> None:
        """acc += their product; tile (i, j) has registers 4 (i n + j) and following."""
        mma = self._mma
        for i in range(self._m):
            for j in range(self._n):
                place = 4 * (i * self._n + j)
                mma.multiply(acc, place, self._a, mma.a_registers * i, self._b, mma.b_registers * j, self._lane)
