"""Tile sizes of a product, and the default ones for any shape."""

from __future__ import annotations

from dataclasses import dataclass

from lampq_tvm.kernels.isa.dot import Dot
from lampq_tvm.kernels.shapes import ProductShape, padded

MAX_ROWS, MAX_VECTORS = 12, 6


@dataclass(frozen=True)
class Tiles:
    """Tile sizes of a product.

    Attributes:
        rows: rows of the register tile.
        vectors: weight vectors of the register tile.
        group: register tiles below each other that one task works on with the same weights at hand.
        unroll: steps along K that are written out.
    """

    rows: int
    vectors: int
    group: int = 1
    unroll: int = 1

    @property
    def key(self) -> str:
        """Short text that names the sizes (`6x4g1u2`)."""
        return f"{self.rows}x{self.vectors}g{self.group}u{self.unroll}"


def check_tiles(tiles: Tiles, shape: ProductShape, dot: Dot) -> bool:
    """Whether a product can be built with these sizes."""
    sizes = (tiles.rows, tiles.vectors, tiles.group, tiles.unroll)
    return min(sizes) > 0 and tiles.rows <= shape.rows and tiles.vectors <= padded(shape, dot)[0] // dot.lanes


def default_tiles(shape: ProductShape, dot: Dot) -> Tiles:
    """Tiles for any shape: the register tile with the least loads per multiply-add and little work done twice."""
    budget, blocks = dot.accumulators, padded(shape, dot)[0] // dot.lanes
    best: tuple[float, Tiles] | None = None
    for vectors in range(1, min(MAX_VECTORS, blocks) + 1):
        for rows in range(1, min(MAX_ROWS, shape.rows) + 1):
            slots = dot.slots(rows, vectors)
            if slots > budget and rows * vectors > 1:
                continue
            loads = dot.loads(rows, vectors) / slots
            twice = -(-shape.rows // rows) * rows / shape.rows
            tails = 1 + 0.02 * (blocks % vectors > 0)
            cost = twice * tails * (1 + loads)
            if best is None or cost < best[0]:
                best = (cost, Tiles(rows, vectors, unroll=dot.unroll))
    if best is None:
        raise AssertionError("one row and one vector always fit")
    return best[1]
