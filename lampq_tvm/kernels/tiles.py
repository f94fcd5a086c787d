"""Sizes that a kernel works in, and a product's default ones for any shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lampq_tvm.kernels.isa.dot import Dot
from lampq_tvm.kernels.shapes import ProductShape, padded

MAX_ROWS, MAX_VECTORS = 12, 6
GROUPS = (1, 2, 3, 4, 6, 8)
PANEL = 64 << 10  # bytes of rows that a task may keep: half of what a core has of the smallest second level cache of a board
TASKS_LEFT = 8  # parallel tasks that grouping leaves, so that records serve more cores than they were tuned on
EVEN = 16  # and those that it leaves without tuning: a dozen cores share them evenly


@dataclass(frozen=True)
class Tiles:
    """Sizes that a kernel works in.

    Attributes:
        rows: rows of the register tile; of LayerNorm, rows side by side.
        vectors: weight vectors of the register tile; of attention, of both products where the factor has as many.
        group: register tiles of a product below each other that one task works on with the same weights at hand.
        unroll: steps along the depth that are written out; of LayerNorm, blocks of 32 channels.
    """

    rows: int
    vectors: int
    group: int = 1
    unroll: int = 1

    @property
    def key(self) -> str:
        """Short text that names the sizes (`6x4g1u2`)."""
        return f"{self.rows}x{self.vectors}g{self.group}u{self.unroll}"


def default_tiles(shape: ProductShape, dot: Dot) -> Tiles:
    """Tiles for any shape: those with the fewest multiply-adds and loads, the last rows' smaller tile included.

    As many of them go together as a core keeps rows for: the weights are read once for all.
    """
    budget, blocks = dot.accumulators, padded(shape, dot)[0] // dot.lanes
    best: tuple[float, int, int] | None = None
    for vectors in range(min(dot.together, blocks), min(MAX_VECTORS, blocks) + 1):
        for rows in range(1, min(MAX_ROWS, shape.rows) + 1):
            if (rows > 1 or vectors > dot.together) and (dot.slots(rows, vectors) > budget or not dot.fits(rows, vectors)):
                continue
            whole, rest = divmod(shape.rows, rows)
            steps = sum(count * dot.instructions(r, vectors) for count, r in ((whole, rows), (1, rest)) if r)
            tails = 1 + 0.02 * (blocks % vectors > 0)
            cost = tails * steps / vectors
            if best is None or cost < best[0]:
                best = (cost, rows, vectors)
    if best is None:
        raise AssertionError("one row and one vector always fit")
    _, rows, vectors = best
    return Tiles(rows, vectors, _group(shape, dot, rows), dot.unroll)


def row_bytes(dot: Dot, depth: int) -> int:
    """Bytes of a panel's row."""
    return -(-depth // dot.group) * dot.row_items * np.dtype(dot.a_dtype).itemsize


def _group(shape: ProductShape, dot: Dot, rows: int) -> int:
    """Row tiles that go together."""
    each, tiles = rows * row_bytes(dot, shape.k), -(-shape.rows // rows)
    return max(g for g in GROUPS if g == 1 or (g * each <= PANEL and tiles // g >= EVEN))
