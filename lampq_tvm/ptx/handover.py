"""Which block wrote and read each word of global memory in a launch, and what blocks handed to each other.

Blocks run in any order. A word that one block wrote may be touched by another only after a handover: the writers meet at a
barrier, one of them fences and counts itself by an atomic operation; a reader's thread sees the count by an atomic operation,
fences, and its block meets at a barrier. Source: PTX ISA, Memory Consistency Model, of which this is the part that kernels
use; other ways are called races.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lampq_tvm.ptx.errors import refuse
from lampq_tvm.ptx.lanes import Lanes
from lampq_tvm.ptx.memory import BASE
from lampq_tvm.ptx.types import Array

NOBODY, SEVERAL = 0, -1  # else a block's number plus one
WORD = 4


class Handover:
    """What a launch remembers; times count its events.

    Args:
        size: bytes of global memory.
        blocks: of the grid.
    """

    def __init__(self, size: int, blocks: int) -> None:
        self._writer, self._written, self._reader = (np.zeros(size // WORD, np.int32) for _ in range(3))
        # Of each block: its last barrier and fence; what it told others, and when; when it asked, and what it knows of since.
        self._met, self._fenced, self._told, self._told_at = (np.zeros(blocks, np.int64) for _ in range(4))
        self._asked, self._looked, self._knows = (np.full(blocks, -1, np.int64) for _ in range(3))
        self._now = 1

    def reads(self, addresses: Array, width: int, lanes: Array, geometry: Lanes) -> None:
        """Note loads of [A] items by lanes of a chunk.

        Raises:
            Fault: another block wrote there and handed nothing over.
        """
        words, blocks = _words(addresses, width), _blocks(lanes, geometry, width)
        _race(self._foreign(words, blocks), addresses, lanes, "reads what another block wrote")
        _note(self._reader, words, blocks)

    def writes(self, addresses: Array, width: int, lanes: Array, geometry: Lanes) -> None:
        """Note stores of [A] items; less than a word may share it with other blocks' stores, which is not watched.

        Raises:
            Fault: another block wrote or read there and handed nothing over.
        """
        self._now += 1
        words, blocks = _words(addresses, width), _blocks(lanes, geometry, width)
        if width < WORD:
            _note(self._writer, words, blocks)
            self._written[words] = self._now
            return
        _race(self._foreign(words, blocks), addresses, lanes, "writes where another block wrote")
        reader = self._reader[words]
        read = (reader != NOBODY) & (reader != blocks + 1)
        _race(read, addresses, lanes, "writes where another block reads")
        self._writer[words], self._written[words] = blocks + 1, self._now
        _race(self._writer[words] != blocks + 1, addresses, lanes, "writes where another block writes")

    def meets(self, blocks: Array) -> None:
        """Blocks, by number, meet at a barrier."""
        self._now += 1
        self._met[blocks] = self._now
        self._knows[blocks] = self._looked[blocks]

    def fences(self, lanes: Array, geometry: Lanes) -> None:
        """Lanes fence for the whole device: what their block wrote before its last barrier may be told now."""
        self._now += 1
        blocks = np.unique(_blocks(lanes, geometry))
        self._fenced[blocks] = self._met[blocks]
        self._looked[blocks] = self._asked[blocks]

    def counts(self, lanes: Array, geometry: Lanes) -> None:
        """Lanes execute an atomic operation on global memory, one after the other: a block knows of those before it."""
        blocks = np.unique(_blocks(lanes, geometry))
        times = self._now + 1 + np.arange(len(blocks))
        self._now = int(times[-1])
        self._told[blocks], self._told_at[blocks], self._asked[blocks] = self._fenced[blocks], times, times

    def _foreign(self, words: Array, blocks: Array) -> npt.NDArray[np.bool_]:
        """Whether another block wrote a word without a handover, [A * words of an item] bool."""
        writer = self._writer[words]
        other = np.asarray((writer > NOBODY) & (writer != blocks + 1), np.bool_)
        if not other.any():
            return other
        by = np.where(other, writer - 1, 0)
        handed = (self._written[words] <= self._told[by]) & (self._told_at[by] <= self._knows[blocks])
        return np.asarray(other & ~handed, np.bool_)


def _race(bad: Array, addresses: Array, lanes: Array, what: str) -> None:
    """Fault at the first of [A] items of which `bad`, [A * words of an item] bool, holds."""
    refuse(np.any(bad.reshape(len(addresses), -1), axis=1), addresses, lanes, f"{what} in this launch: a race")


def _note(who: Array, words: Array, blocks: Array) -> None:
    """Add blocks to those that touched words; in one step several may touch a word."""
    before = who[words]
    who[words] = np.where((before == NOBODY) | (before == blocks + 1), blocks + 1, SEVERAL)
    who[words[who[words] != blocks + 1]] = SEVERAL


def _words(addresses: Array, width: int) -> Array:
    """Numbers of the words of [A] items, [A * words of an item] int64."""
    first = (addresses - np.uint64(BASE)).astype(np.int64) // WORD
    return first if width <= WORD else (first[:, None] + np.arange(width // WORD)).reshape(-1)


def _blocks(lanes: Array, geometry: Lanes, width: int = WORD) -> Array:
    """Numbers of the lanes' blocks in the grid, one for each word of an item."""
    blocks = geometry.block_of[lanes] + geometry.first
    return blocks if width <= WORD else np.repeat(blocks, width // WORD)
