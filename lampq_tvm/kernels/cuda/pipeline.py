"""Tiles of operands travel into shared memory some steps ahead of the multiplications."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import CHUNK, Threads, barrier, copy_words, i32, ptx, when
from lampq_tvm.kernels.cuda.mma import neighbours


@dataclass(frozen=True)
class Copy:
    """What one operand's tile is made of.

    Attributes:
        source: matrix of words [rows, words], rows whole 16 bytes.
        row: first row of the tile; rows beyond the matrix repeat its last.
        rows, words: of the tile.
        pitch: words between rows in shared memory.
        offset: word of a stage at which the tile begins.
        group: rows are put in the order of `mma.neighbours` within each so many; 0 leaves them as they come.
    """

    source: Any
    row: Expr
    rows: int
    words: int
    pitch: int
    offset: int
    group: int = 0

    def emit(self, memory: Any, stage: Expr, step: Expr, threads: Threads, asynchronous: bool) -> None:
        """Start copying the tile of a step; each thread takes every `threads.count`-th 16 bytes."""
        height, width = (int(extent) for extent in self.source.shape)
        across = self.words // CHUNK
        total = self.rows * across
        for first in range(0, total, threads.count):
            chunk = threads.index + first
            with when(None if first + threads.count <= total else chunk < total):
                line = chunk // across
                row = tirx.min(self.row + (neighbours(line, self.group) if self.group else line), i32(height - 1))
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
        depth: stages in shared memory.
        first: word of shared memory at which they begin.
        words: of a stage.
        steps: how many there are.
        asynchronous: by instructions of sm_80; else a step is copied before the barrier that precedes its use.
    """

    copies: tuple[Copy, ...]
    depth: int
    first: int
    words: int
    steps: int
    asynchronous: bool

    @property
    def _ahead(self) -> int:
        return min(self.depth - 1, self.steps)

    def start(self, memory: Any, threads: Threads) -> None:
        """Fill all stages but one."""
        for step in range(self.depth - 1):
            if step < self._ahead:
                self._copy(memory, i32(step), threads)
            self._commit()

    def steps_of(self, memory: Any, threads: Threads) -> Iterator[tuple[Expr, Expr]]:
        """The step loop's body: first word of the stage that is ready, and the step's number."""
        with T.serial(0, self.steps) as step:
            if self.asynchronous:
                ptx("cp.async.wait_group", self.depth - 2)
            barrier()
            if self.steps > self._ahead:
                with when(step < self.steps - self._ahead):
                    self._copy(memory, step + self._ahead, threads)
            self._commit()
            yield self._stage(step), step

    def _stage(self, step: Expr) -> Expr:
        return step % self.depth * self.words + self.first

    def _copy(self, memory: Any, step: Expr, threads: Threads) -> None:
        for copy in self.copies:
            copy.emit(memory, self._stage(step), step, threads, self.asynchronous)

    def _commit(self) -> None:
        if self.asynchronous:
            ptx("cp.async.commit_group")
