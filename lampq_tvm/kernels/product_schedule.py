"""Schedule of the integer product: one pure function of the tile sizes, for default and tuned kernels alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.isa import dot_for
from lampq_tvm.kernels.isa.dot import Dot, register
from lampq_tvm.kernels.product import ProductShape, padded, product, round_up

# Accumulators that fit the register file beside weights and activations.
ACCUMULATORS = {"vnni": 24, "avx2": 10, "dotprod": 24, "neon": 16}
SMALL_ROWS = 16


@dataclass(frozen=True)
class Tiles:
    """Tile sizes of a product.

    Attributes:
        rows: rows of the register tile.
        vectors: weight vectors of the register tile; divides Np / lanes.
    """

    rows: int
    vectors: int


def default_tiles(shape: ProductShape, dot: Dot, isa: str) -> Tiles:
    """Tiles for any shape: the register tile with the least loads per multiply-add and little padding."""
    budget, blocks = ACCUMULATORS[isa], padded(shape, dot)[0] // dot.lanes
    best: tuple[float, Tiles] | None = None
    for vectors in (v for v in range(1, 7) if blocks % v == 0):
        for rows in range(1, 13):
            if rows * vectors <= budget:
                loads = (rows + vectors) / (rows * vectors)
                waste = round_up(shape.rows, rows) / shape.rows
                cost = waste * (1 + 2 * loads)
                if best is None or cost < best[0]:
                    best = (cost, Tiles(rows, vectors))
    if best is None:
        raise AssertionError("one row and one vector always fit")
    return best[1]


def build_product(shape: ProductShape, isa: str, w_bits: int, a_bits: int, tiles: Tiles | None = None) -> PrimFunc:
    """The scheduled kernel, for any shape and any widths 2..8; see `product` for its arguments."""
    dot = dot_for(isa, w_bits, a_bits)
    tiles = tiles or default_tiles(shape, dot, isa)
    sch = Schedule(product(shape, isa, w_bits, a_bits, tiles.rows))
    schedule_product(sch, dot, shape.rows, tiles.rows, tiles.vectors)
    return sch.mod["main"]


def schedule_product(sch: Schedule, dot: Dot, rows: int, tile_rows: Any, tile_vectors: Any) -> None:
    """Schedule a product in place.

    Row tiles run in parallel (channel tiles where there are few rows); each keeps its panel of activations, and a
    register tile of tile_rows x tile_vectors accumulators over the whole of K. Serves every shape.

    Args:
        tile_rows, tile_vectors: integers, or sampled variables in a search space.
    """
    acc, out, panel = sch.get_sblock("acc"), sch.get_sblock("out"), sch.get_sblock("panel")
    m, n, kq, kr = sch.get_loops(acc)
    m_outer, m_inner = sch.split(m, [None, tile_rows])
    n_outer, vector, lane = sch.split(n, [None, tile_vectors, dot.lanes])
    k_outer, *k_inner = sch.split(kq, [None, dot.depth]) if dot.depth > 1 else [kq]
    sch.reorder(m_outer, n_outer, k_outer, m_inner, vector, lane, *k_inner, kr)
    if rows >= SMALL_ROWS:
        sch.compute_at(panel, m_outer, preserve_unit_loops=True)
    sch.reverse_compute_at(out, n_outer, preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    sch.parallel(m_outer if rows >= SMALL_ROWS else n_outer)
    _vectorize(sch, out, dot.lanes)
    _vectorize(sch, panel, 16)
    init = sch.decompose_reduction(acc, k_outer)
    init_loops = sch.get_loops(init)
    sch.vectorize(init_loops[-1])
    for loop in init_loops[-3:-1]:
        sch.unroll(loop)
    sch.tensorize(lane, register(dot))
    sch.unroll(m_inner)
    sch.unroll(vector)


def _vectorize(sch: Schedule, block: Any, lanes: int) -> None:
    _, inner = sch.split(sch.get_loops(block)[-1], [None, lanes])
    sch.vectorize(inner)
