"""The search space of a CUDA product: which tiles are worth building on an architecture."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from lampq_tvm.kernels.cuda.fits import product_fits
from lampq_tvm.kernels.cuda.mma import COLUMNS, ROWS, Mma
from lampq_tvm.kernels.cuda.tiles import CudaTiles, check_tiles, default_tiles
from lampq_tvm.kernels.shapes import ProductShape, round_up

SIZES = (16, 32, 64, 96, 128, 192, 256)
WORDS, STAGES, WARPS, SPLITS = (8, 16, 24, 32, 48, 64), (2, 3, 4, 5), (1, 2, 4), (1, 2, 4)
MOST_SUMS = 128  # registers of a thread that hold sums; half of what there is, so that nothing spills
WASTE = 1.5  # most work on rows and columns beyond the edge


def candidates(shape: ProductShape, mma: Mma, arch: str, *, normed: bool = False) -> list[CudaTiles]:
    """Tiles of a product that fit the architecture and waste little, the default ones first.

    Args:
        normed: whether the kernel makes its codes by LayerNorm, all rows of a block in shared memory.
    """
    found = dict.fromkeys([default_tiles(shape, mma)])
    found.update(dict.fromkeys(tiles for tiles in _all() if sensible(tiles, shape, mma, arch, normed)))
    return list(found)


def sensible(tiles: CudaTiles, shape: ProductShape, mma: Mma, arch: str, normed: bool) -> bool:
    """Whether tiles are worth building."""
    if not check_tiles(tiles, mma, normed) or tiles.warps not in (2, 4, 8):
        return False
    m, n = tiles.warp_tile
    rows, columns = round_up(shape.rows, tiles.rows), round_up(shape.n, tiles.columns)
    least = round_up(shape.rows, ROWS) * round_up(shape.n, COLUMNS)
    fits = product_fits(shape, mma, tiles, arch, normed=normed)
    return m * n <= MOST_SUMS * 32 and rows * columns <= WASTE * least and fits


def _all() -> Iterator[CudaTiles]:
    for sizes in itertools.product(SIZES, SIZES, WORDS, STAGES, WARPS, WARPS, SPLITS):
        yield CudaTiles(*sizes)
