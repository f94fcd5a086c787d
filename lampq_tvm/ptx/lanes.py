"""The threads of a chunk of blocks as lanes: blocks in order, in each its warps, in each 32 lanes.

A block whose threads do not fill its last warp gets lanes that have exited before they start.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from lampq_tvm.ptx.types import Array

WARP = 32
Dim = tuple[int, int, int]


@dataclass(frozen=True)
class Lanes:
    """Geometry of a chunk.

    Attributes:
        grid: blocks of the launch by x, y, z.
        block: threads of a block by x, y, z.
        first: number of the chunk's first block, x fastest.
        blocks: in the chunk.
    """

    grid: Dim
    block: Dim
    first: int
    blocks: int

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.block[0] * self.block[1] * self.block[2]

    @property
    def warps(self) -> int:
        """Warps of a block."""
        return -(-self.threads // WARP)

    @property
    def padded(self) -> int:
        """Lanes of a block."""
        return self.warps * WARP

    @property
    def count(self) -> int:
        """Lanes of the chunk, L."""
        return self.blocks * self.padded

    @functools.cached_property
    def number(self) -> Array:
        """Number of each lane's thread in its block, [L] int64; from `threads` on it is padding."""
        return np.tile(np.arange(self.padded), self.blocks)

    @functools.cached_property
    def block_of(self) -> Array:
        """Place in the chunk of each lane's block, [L] int64."""
        return np.repeat(np.arange(self.blocks), self.padded)

    @functools.cached_property
    def warp_of(self) -> Array:
        """Number of each lane's warp in its block, [L] int64."""
        return self.number // WARP

    def special(self, name: str) -> Array:
        """A special register, [L] uint32; `name` is `%tid.x`, ... (PTX ISA, 10 Special Registers)."""
        stem, _, axis = name[1:].partition(".")
        at = "xyzw".find(axis) if axis else 0
        lane = (self.number % WARP).astype(np.uint32)
        one = np.uint32(1)
        simple = {
            "laneid": lane,
            "warpid": self.warp_of,
            "nwarpid": np.full(self.count, self.warps),
            "lanemask_eq": one << lane,
            "lanemask_lt": (one << lane) - one,
            "lanemask_le": (one << lane) - one | one << lane,
            "lanemask_gt": ~((one << lane) - one | one << lane),
            "lanemask_ge": ~((one << lane) - one),
        }
        if stem in simple:
            return np.asarray(simple[stem]).astype(np.uint32)
        if at == 3:
            return np.full(self.count, 0 if stem[0] != "n" else 1, np.uint32)
        sizes = self.block if stem.endswith("ntid") or stem == "tid" else self.grid
        if stem in ("ntid", "nctaid"):
            return np.full(self.count, sizes[at], np.uint32)
        index = self.number if stem == "tid" else self.block_of + self.first
        stride = (1, sizes[0], sizes[0] * sizes[1])[at]
        return (index // stride % sizes[at]).astype(np.uint32)

    def name(self, lane: int) -> str:
        """A lane as a programmer knows it."""
        thread = ", ".join(str(int(self.special(f"%tid.{a}")[lane])) for a in "xyz")
        block = ", ".join(str(int(self.special(f"%ctaid.{a}")[lane])) for a in "xyz")
        return f"thread ({thread}) of block ({block})"


class Active:
    """Lanes that run an instruction together.

    Attributes:
        mask: [L] bool.
        all: every lane of the chunk runs.
        full: the others have exited, so that writing their registers does no harm.
    """

    __slots__ = ("_index", "_warps", "all", "full", "mask")

    def __init__(self, mask: Array, full: bool) -> None:
        self.mask = mask
        self.all = bool(mask.all())
        self.full = full or self.all
        self._index: Array | None = None
        self._warps: Array | None = None

    @property
    def index(self) -> Array:
        """Numbers of the lanes, [A] int64."""
        if self._index is None:
            self._index = np.flatnonzero(self.mask)
        return self._index

    @property
    def warps(self) -> Array:
        """Numbers of the warps in the chunk that have a lane here, [V] int64."""
        if self._warps is None:
            self._warps = np.flatnonzero(self.mask.reshape(-1, WARP).any(axis=1))
        return self._warps

    def pick(self, values: Array) -> Array:
        """[L] -> [A]."""
        return values if self.all else values[self.index]

    def under(self, condition: Array) -> Active:
        """Those of the lanes for which `condition`, [L] bool, holds."""
        if condition[self.mask].all():
            return self
        return Active(self.mask & condition, False)

    def put(self, target: Array, values: Array) -> None:
        """Write [L] values to the lanes' places in a register."""
        if self.full:
            target[...] = values
        else:
            np.copyto(target, values, where=self.mask)

    def put_picked(self, target: Array, values: Array) -> None:
        """Write [A] values to the lanes' places in a register."""
        if self.all:
            target[...] = values
        else:
            target[self.index] = values
