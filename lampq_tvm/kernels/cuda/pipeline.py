"""Tiles of operands travel into shared memory some steps ahead of the multiplications."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr

from lampq_tvm.kernels.cuda.emit import CHUNK, Threads, await_previous, barrier, copy_words, i32, ptx, under, when
from lampq_tvm.kernels.cuda.mma import neighbours


@dataclass(frozen=True)
class Copy:
    """What one operand's tile is made of.

    Attributes:
        source: matrix of words [rows, words], rows whole 16 bytes.
        row: first row of the tile; rows beyond `last` repeat it.
        rows, words: of the tile.
        pitch: words between rows in shared memory.
        offset: word of a stage at which the tile begins.
        group: rows are put in the order of `mma.neighbours` within each so many; 0 leaves them as they come.
        constant: no kernel writes it.
        taken: where a row stands in `source`; None where it stands.
    """

    source: Any
    row: Expr
    last: int
    rows: int
    words: int
    pitch: int
    offset: int
    group: int = 0
    constant: bool = False
    taken: Callable[[Expr], Expr] | None = None

    def emit(self, memory: Any, stage: Expr, step: Expr, threads: Threads, asynchronous: bool) -> None:
        """Start copying the tile of a step; each thread takes every `threads.count`-th 16 bytes."""
        width = int(self.source.shape[1])
        across = self.words // CHUNK
        total = self.rows * across
        for first in range(0, total, threads.count):
            chunk = threads.index + first
            with when(None if first + threads.count <= total else chunk < total):
                line = chunk // across
                row = tirx.min(self.row + (neighbours(line, self.group) if self.group else line), i32(self.last))
                row = row if self.taken is None else self.taken(row)
                word = step * self.words + chunk % across * CHUNK
                if width % self.words:
                    word = tirx.min(word, i32(width - CHUNK))  # what is read twice meets weights of zero
                target = stage + self.offset + line * self.pitch + chunk % across * CHUNK
                copy_words(memory, target, self.source, row, word, CHUNK, asynchronous)


@dataclass(frozen=True)
class Pipeline:
    """Copies in flight.

    Attributes:
        copies: the operands' tiles.
        depth: stages in shared memory; all of them but the one that is multiplied are under way.
        first: word of shared memory at which they begin.
        words: of a stage.
        steps: how many there are.
        asynchronous: by instructions of sm_80; else a step is copied at once, and seen after the next barrier.
    """

    copies: tuple[Copy, ...]
    depth: int
    first: int
    words: int
    steps: int
    asynchronous: bool

    def start(self, memory: Any, threads: Threads) -> None:
        """Fill all stages: with constants at once, with the rest when the kernel before has ended."""
        for constant in (True, False):
            if not constant:
                await_previous()
            for step in range(self.depth):
                if step < self.steps:
                    self._copy(memory, step, step, threads, constant)
                if not constant:
                    self._commit()

    def begin(self) -> None:
        """Wait for the first step."""
        self._wait(self.depth - 1)
        barrier()

    def turn(self, memory: Any, step: Expr | int, slot: int, threads: Threads) -> None:
        """Nobody needs a step, which lies in stage `slot`, any longer: wait for the next, and copy what takes its place."""
        for _ in under(step + 1 < self.steps):
            self._wait(self.depth - 2)
            barrier()
            if self.steps > self.depth:
                for _ in under(step + self.depth < self.steps):
                    for constant in (True, False):
                        self._copy(memory, step + self.depth, slot, threads, constant)
            self._commit()

    def stage(self, slot: int) -> int:
        """First word of a stage."""
        return slot % self.depth * self.words + self.first

    def _copy(self, memory: Any, step: Expr | int, slot: int, threads: Threads, constant: bool) -> None:
        for copy in (copy for copy in self.copies if copy.constant == constant):
            copy.emit(memory, i32(self.stage(slot)), i32(step) if isinstance(step, int) else step, threads, self.asynchronous)

    def _commit(self) -> None:
        if self.asynchronous:
            ptx("cp.async.commit_group")

    def _wait(self, pending: int) -> None:
        if self.asynchronous:
            ptx("cp.async.wait_group", pending)
