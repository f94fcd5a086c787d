"""Shared memory of a chunk of blocks, with a watch on every byte.

A byte remembers, beside its value, whether it was ever written, whether an asynchronous copy to it is under way, which
warp wrote it since the block's last barrier, and which warp, or several, read it since then. So three mistakes are found
that a run on a GPU shows now and then only: a read of what nobody wrote, a use of a copy's destination before the wait
that covers it, and two warps that touch a byte, one of them writing, without a barrier between.
"""

from __future__ import annotations

import numpy as np

from lampq_tvm.ptx.errors import refuse
from lampq_tvm.ptx.lanes import Lanes
from lampq_tvm.ptx.types import ITEMS, Array

WRITTEN, PENDING, WRITER = np.uint8(0x40), np.uint8(0x80), np.uint8(0x3F)
SEVERAL = np.uint8(0xFF)


class Shared:
    """Shared memory.

    Args:
        lanes: of the chunk.
        size: bytes of a block.
        check: watch the bytes.
    """

    def __init__(self, lanes: Lanes, size: int, check: bool) -> None:
        self.size, self.check = size, check
        self._stride = -(-max(size, 1) // 16) * 16
        total = self._stride * lanes.blocks
        self._bytes = np.zeros(total, np.uint8)
        self._state = np.zeros(total, np.uint8)  # WRITTEN | PENDING | 1 + the warp that wrote since the barrier
        self._reader = np.zeros(total, np.uint8)  # 0, 1 + the warp that read since the barrier, or SEVERAL
        self._origin = lanes.block_of * self._stride
        self._tag = (lanes.warp_of + 1).astype(np.uint8)

    def gather(self, addresses: Array, width: int, lanes: Array, watch: bool = True) -> Array:
        """One item of `width` bytes from each address.

        Args:
            addresses: [A], in the blocks of `lanes`.
            width: 1, 2, 4, 8 or 16.
            lanes: [A], who reads.
            watch: false for atomic operations, which do not race with each other.

        Raises:
            Fault: outside, misaligned, or one of the mistakes above.
        """
        places = self._places(addresses, width, lanes, "reads")
        if self.check and watch:
            self._watch_read(places, width, lanes, addresses)
        return self._bytes.view(ITEMS[width])[places]

    def scatter(self, addresses: Array, values: Array, lanes: Array, watch: bool = True) -> None:
        """Put one item at each address.

        Args:
            addresses: [A], in the blocks of `lanes`.
            values: [A], of a type in `ITEMS`.
            lanes: [A], who writes.
            watch: as `gather`.

        Raises:
            Fault: as `gather`.
        """
        width = values.dtype.itemsize
        places = self._places(addresses, width, lanes, "writes")
        if self.check and watch:
            self._watch_write(places, width, lanes, addresses, WRITTEN)
        self._bytes.view(values.dtype)[places] = values

    def announce(self, addresses: Array, width: int, lanes: Array) -> None:
        """Asynchronous copies to these addresses begin."""
        places = self._places(addresses, width, lanes, "copies")
        if self.check:
            self._watch_write(places, width, lanes, addresses, PENDING)

    def arrive(self, addresses: Array, values: Array, lanes: Array) -> None:
        """The copies' bytes are there."""
        width = values.dtype.itemsize
        places = self._places(addresses, width, lanes, "copies")
        self._bytes.view(values.dtype)[places] = values
        if self.check:
            tags = np.repeat(self._tag[lanes] | WRITTEN, width)
            self._state.view(ITEMS[width])[places] = tags.view(ITEMS[width])

    def barrier(self, blocks: Array | None) -> None:
        """A barrier of these blocks (None: all), after which earlier accesses cannot race with later ones."""
        if not self.check:
            return
        if blocks is None:
            self._state &= WRITTEN | PENDING
            self._reader.fill(0)
        else:
            self._state.reshape(-1, self._stride)[blocks] &= WRITTEN | PENDING
            self._reader.reshape(-1, self._stride)[blocks] = 0

    def _places(self, addresses: Array, width: int, lanes: Array, verb: str) -> Array:
        offsets = addresses.astype(np.int64)
        if offsets.size and (int(offsets.max()) + width > self.size or int(offsets.min()) < 0):
            bad = (offsets + width > self.size) | (offsets < 0)
            refuse(bad, addresses, lanes, f"{verb} {width} bytes outside the block's {self.size} bytes of shared memory")
        wrong = offsets & (width - 1) != 0
        if wrong.any():
            refuse(wrong, addresses, lanes, f"{verb} {width} bytes of shared memory misaligned")
        return np.asarray((offsets + self._origin[lanes]) // width)

    def _watch_read(self, places: Array, width: int, lanes: Array, addresses: Array) -> None:
        item = ITEMS[width]
        tags = self._tag[lanes][:, None]
        state = self._state.view(item)[places].view(np.uint8).reshape(-1, width)
        rest = state ^ WRITTEN
        fine = (rest == 0) | (rest == tags)
        if not fine.all():
            self._explain(state, tags, lanes, addresses, reading=True)
        seen = self._reader.view(item)[places].view(np.uint8).reshape(-1, width)
        now = np.where((seen == 0) | (seen == tags), tags, SEVERAL)
        if (now == seen).all():
            return
        packed = now.reshape(-1).view(item)
        readers = self._reader.view(item)
        readers[places] = packed
        lost = readers[places].view(np.uint8).reshape(-1, width) != now  # two warps in one instruction
        if lost.any():
            rows = lost.any(axis=1)
            now[lost] = SEVERAL
            readers[places[rows]] = now[rows].reshape(-1).view(item)

    def _watch_write(self, places: Array, width: int, lanes: Array, addresses: Array, mark: np.uint8) -> None:
        item = ITEMS[width]
        tags = self._tag[lanes][:, None]
        state = self._state.view(item)[places].view(np.uint8).reshape(-1, width)
        writer = state & ~WRITTEN
        seen = self._reader.view(item)[places].view(np.uint8).reshape(-1, width)
        fine = ((writer == 0) | (writer == tags)) & ((seen == 0) | (seen == tags))
        if not fine.all():
            touched = np.where((seen != 0) & (seen != tags), WRITER, 0).astype(np.uint8)
            self._explain(state | touched, tags, lanes, addresses, reading=False)
        now = (tags | mark | (state & WRITTEN)).astype(np.uint8) if mark == PENDING else (tags | mark)
        now = np.ascontiguousarray(np.broadcast_to(now, state.shape))
        states = self._state.view(item)
        states[places] = now.reshape(-1).view(item)
        lost = (states[places].view(np.uint8).reshape(-1, width) & WRITER) != tags
        if lost.any():
            refuse(lost.any(axis=1), addresses, lanes, "races with another warp: both write this byte in one step")

    def _explain(self, state: Array, tags: Array, lanes: Array, addresses: Array, reading: bool) -> None:
        """Raise for the first of the mistakes that is there."""
        writer = state & WRITER
        verb = "reads" if reading else "writes"
        text = f"{verb} what an asynchronous copy has not been waited for"
        refuse((state & PENDING != 0).any(axis=1), addresses, lanes, text)
        other = "wrote" if reading else "touched"
        text = f"races: {verb} shared memory that another warp {other} since the last barrier"
        refuse(((writer != 0) & (writer != tags)).any(axis=1), addresses, lanes, text)
        refuse((state & WRITTEN == 0).any(axis=1), addresses, lanes, "reads shared memory that was never written")
