"""A device's global memory, in which only what was allocated exists.

Addresses lie above 2^32, so an address cut to 32 bits is outside; between two allocations lies a gap, and freed memory is
not handed out again, so a use after free is outside too.
"""

from __future__ import annotations

import bisect

import numpy as np
import numpy.typing as npt

from lampq_tvm.errors import UsageError
from lampq_tvm.ptx.errors import refuse
from lampq_tvm.ptx.types import ITEMS, Array

BASE = 0x7_0000_0000
ALIGN = 256
GAP = 1024


class Memory:
    """An address space of allocations, as a driver hands them out."""

    def __init__(self) -> None:
        self._bytes = np.zeros(1 << 16, np.uint8)
        self._top = GAP
        self._starts: list[int] = []
        self._sizes: dict[int, int] = {}
        self._bounds: Array = np.zeros((2, 0), np.int64)

    @property
    def size(self) -> int:
        """Bytes from `BASE` to the end of the last allocation, and some more."""
        return self._bytes.size

    def alloc(self, size: int) -> int:
        """Reserve `size` bytes and return their address, a multiple of 256."""
        if size <= 0:
            raise UsageError(f"an allocation has at least one byte, not {size}")
        start = self._top
        self._top = -(-(start + size) // ALIGN) * ALIGN + GAP
        if self._top > self._bytes.size:
            grown = np.zeros(max(self._top, 2 * self._bytes.size), np.uint8)
            grown[: self._bytes.size] = self._bytes
            self._bytes = grown
        self._starts.append(start)
        self._sizes[start] = size
        self._index()
        return BASE + start

    def free(self, address: int) -> None:
        """Give back an allocation."""
        start = address - BASE
        if start not in self._sizes:
            raise UsageError(f"no allocation starts at {address:#x}")
        self._starts.remove(start)
        del self._sizes[start]
        self._index()

    def read(self, address: int, size: int) -> npt.NDArray[np.uint8]:
        """A copy of `size` bytes from `address`."""
        return self._bytes[self._range(address, size)].copy()

    def write(self, address: int, data: bytes | Array) -> None:
        """Put bytes, or an array's bytes, at `address`."""
        array = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else np.ascontiguousarray(data)
        flat = array.reshape(-1).view(np.uint8)
        self._bytes[self._range(address, flat.size)] = flat

    def gather(self, addresses: Array, width: int, lanes: Array) -> Array:
        """One item of `width` bytes from each address.

        Args:
            addresses: [A] uint64.
            width: 1, 2, 4, 8 or 16.
            lanes: [A], who accesses, for the message.

        Raises:
            Fault: an address is not a multiple of `width`, or the item leaves its allocation.
        """
        return self._bytes.view(ITEMS[width])[self._places(addresses, width, lanes, "reads")]

    def scatter(self, addresses: Array, values: Array, lanes: Array) -> None:
        """Put one item at each address; where addresses are equal the last lane wins.

        Args:
            addresses: [A] uint64.
            values: [A], of a type in `ITEMS`.
            lanes: [A], who accesses, for the message.

        Raises:
            Fault: as `gather`.
        """
        places = self._places(addresses, values.dtype.itemsize, lanes, "writes")
        self._bytes.view(values.dtype)[places] = values

    def _places(self, addresses: Array, width: int, lanes: Array, verb: str) -> Array:
        """Addresses as item numbers, checked."""
        if not addresses.size:
            return addresses.astype(np.int64)
        low, high = int(addresses.min()), int(addresses.max())
        at = bisect.bisect_right(self._starts, low - BASE) - 1
        inside = at >= 0 and high - BASE + width <= self._starts[at] + self._sizes[self._starts[at]]
        offsets = (addresses - np.uint64(BASE)).astype(np.int64)
        if not inside:  # several allocations, or an error
            found = np.searchsorted(self._bounds[0], offsets, side="right") - 1
            good = found >= 0
            if self._starts:
                good &= offsets + width <= self._bounds[1][found]
            refuse(~good, addresses, lanes, f"{verb} {width} bytes outside every allocation")
        refuse((offsets & (width - 1)) != 0, addresses, lanes, f"{verb} {width} bytes misaligned")
        return offsets // width

    def _range(self, address: int, size: int) -> slice:
        start = address - BASE
        at = bisect.bisect_right(self._starts, start) - 1
        if at < 0 or start + size > self._starts[at] + self._sizes[self._starts[at]]:
            raise UsageError(f"{size} bytes at {address:#x} are not allocated")
        return slice(start, start + size)

    def _index(self) -> None:
        self._bounds = np.array([self._starts, [s + self._sizes[s] for s in self._starts]], np.int64).reshape(2, -1)
