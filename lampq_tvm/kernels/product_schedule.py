"""Schedule of the integer product: one pure function of the tile sizes, for default and tuned kernels alike."""

from __future__ import annotations

from collections.abc import Callable
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
        group: register tiles below each other that one thread works on with the same weights at hand.
        unroll: steps along K that are written out; divides the number of steps.
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
    n_padded, k_padded = padded(shape, dot)
    sizes = (tiles.rows, tiles.vectors, tiles.group, tiles.unroll)
    return min(sizes) > 0 and n_padded // dot.lanes % tiles.vectors == 0 and k_padded // dot.k_block % tiles.unroll == 0


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
    sch = Schedule(product(shape, isa, w_bits, a_bits, tiles.rows * tiles.group))
    schedule_product(sch, dot, shape.rows, lambda *_: tiles)
    return sch.mod["main"]


def schedule_product(sch: Schedule, dot: Dot, rows: int, choose: Callable[[Any, Any, Any], Any]) -> None:
    """Schedule a product in place.

    Row tiles run in parallel (channel tiles where there are few rows); each keeps its panel of activations, and a
    register tile of tiles.rows x tiles.vectors accumulators over the whole of K. Serves every shape.

    Args:
        choose: from the loops over rows, weight vectors and steps along K to `Tiles`; in a search space its sizes are
            sampled variables.
    """
    acc, out, panel = sch.get_sblock("acc"), sch.get_sblock("out"), sch.get_sblock("panel")
    m, n, kq, kr = sch.get_loops(acc)
    n, lane = sch.split(n, [None, dot.lanes])
    k, *k_inner = sch.split(kq, [None, dot.depth]) if dot.depth > 1 else [kq]
    tiles = choose(m, n, k)
    m_outer, m_group, m_inner = sch.split(m, [None, tiles.group, tiles.rows])
    n_outer, vector = sch.split(n, [None, tiles.vectors])
    k_outer, k_unrolled = sch.split(k, [None, tiles.unroll])
    sch.reorder(m_outer, n_outer, m_group, k_outer, k_unrolled, m_inner, vector, lane, *k_inner, kr)
    if rows >= SMALL_ROWS:
        sch.compute_at(panel, m_outer, preserve_unit_loops=True)
    # A table epilogue has two blocks, codes and their look-up; the others have one.
    producers = [block for block in sch.get_producers(out) if sch.get(block).name_hint == "code"]
    for block in (*producers, out):
        sch.reverse_compute_at(block, m_group, preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    sch.parallel(m_outer if rows >= SMALL_ROWS else n_outer)
    _vectorize(sch, (*producers, out)[0], dot.lanes)
    _vectorize(sch, panel, 16)
    init = sch.decompose_reduction(acc, k_outer)
    init_loops = sch.get_loops(init)
    sch.vectorize(init_loops[-1])
    for loop in init_loops[-3:-1]:
        sch.unroll(loop)
    sch.tensorize(lane, register(dot))
    for loop in (k_unrolled, m_inner, vector):
        sch.unroll(loop)


def _vectorize(sch: Schedule, block: Any, lanes: int) -> None:
    _, inner = sch.split(sch.get_loops(block)[-1], [None, lanes])
    sch.vectorize(inner)
