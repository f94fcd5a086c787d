"""Tile sizes of a CUDA product, and the default ones for any shape."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lampq_tvm.kernels.cuda.emit import CHUNK, WARP
from lampq_tvm.kernels.cuda.mma import ROWS, STEP, Mma
from lampq_tvm.kernels.shapes import ProductShape, round_up

KEY = re.compile(r"(\d+)x(\d+)k(\d+)s(\d+)w(\d+)x(\d+)(?:x(\d+))?")
FULL = 128  # blocks that give every multiprocessor of a large chip something to do
MOST_WARPS = 32  # of a block
PAD = 4  # words between rows in shared memory, so that eight rows of 16 bytes lie in different banks


@dataclass(frozen=True)
class CudaTiles:
    """Tile sizes of a CUDA product.

    Attributes:
        rows, columns: of a block's tile.
        words: of K in a step of the pipeline, as words of activations.
        stages: steps in shared memory.
        warp_rows, warp_columns: how many warps share the rows and the columns.
        splits: how many warps share a step's words, and add their sums up in the end: few rows leave a chip idle otherwise.
    """

    rows: int
    columns: int
    words: int = 16
    stages: int = 3
    warp_rows: int = 2
    warp_columns: int = 2
    splits: int = 1

    @property
    def warps(self) -> int:
        """Warps of a block."""
        return self.warp_rows * self.warp_columns * self.splits

    @property
    def warp_tile(self) -> tuple[int, int]:
        """Rows and columns of a warp."""
        return self.rows // self.warp_rows, self.columns // self.warp_columns

    def blocks(self, rows: int, columns: int) -> int:
        """How many cover a product's output."""
        return -(-rows // self.rows) * -(-columns // self.columns)

    @property
    def key(self) -> str:
        """Short text that names the sizes (`64x64k16s3w2x2`, `32x32k64s3w1x1x4`)."""
        warps = f"{self.warp_rows}x{self.warp_columns}" + (f"x{self.splits}" if self.splits > 1 else "")
        return f"{self.rows}x{self.columns}k{self.words}s{self.stages}w{warps}"


def tiles_of(key: str) -> CudaTiles:
    """The tiles that a key names.

    >>> tiles_of("32x64k32s3w1x2x2").splits
    2
    """
    found = KEY.fullmatch(key)
    if found is None:
        raise ValueError(f"{key!r} names no tiles")
    rows, columns, words, stages, warp_rows, warp_columns = map(int, found.group(1, 2, 3, 4, 5, 6))
    return CudaTiles(rows, columns, words, stages, warp_rows, warp_columns, int(found[7] or 1))


def check_tiles(tiles: CudaTiles, mma: Mma, normed: bool) -> bool:
    """Whether a product can be built with these sizes: whole instructions a warp, whole copies a thread, few registers.

    Args:
        normed: the codes are made by LayerNorm, as many rows by each warp.
    """
    if tiles.warps > MOST_WARPS or (normed and tiles.rows % tiles.warps):
        return False
    m, n = tiles.warp_tile
    whole = m * tiles.warp_rows == tiles.rows and n * tiles.warp_columns == tiles.columns
    fits = m % ROWS == 0 and n % mma.columns == 0 and tiles.words % (STEP * tiles.splits) == 0 and tiles.stages >= 2
    fits = fits and (tiles.splits == 1 or not mma.scratch_words(m, n))
    return whole and fits and 0 < m * n <= 128 * WARP and tiles.words * mma.w_bits // mma.a_bits % CHUNK == 0


def default_tiles(shape: ProductShape, mma: Mma) -> CudaTiles:
    """Tiles for any shape: large ones where they still fill a chip, else small ones whose warps share K.

    Served, as timed on an H200: batch 1 of a ViT (197 rows) by 32 x 64, batch 8 by 64 x 64 and more, batch 32 by 128 x 64
    and 128 x 128, one row (a head) by 16 x 64.
    """
    if shape.rows <= 16:
        return CudaTiles(16, 64, warp_rows=1, warp_columns=4 if mma.name == "f16" else 2)
    if not mma.large or mma.scratch_words(ROWS, mma.columns):
        return CudaTiles(64, 64)
    words = 32 if round_up(shape.k * mma.a_bits, 128) // 32 % 32 == 0 else 16
    large = [CudaTiles(128, 64), CudaTiles(64, 64, words)]
    if shape.n % 128 == 0:
        large.insert(0, CudaTiles(128, 128, warp_columns=4))
    filling = (tiles for tiles in large if tiles.blocks(shape.rows, shape.n) >= FULL)
    return next(filling, CudaTiles(32, 64, words, warp_rows=1, splits=2))
