"""CUDA kernels that have sizes to choose: their candidates, how one is built, and what judges it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

from lampq_tvm.kernels.cuda.attention import build_attention
from lampq_tvm.kernels.cuda.attention_shape import GROUP, CudaAttentionShape, with_warps
from lampq_tvm.kernels.cuda.emit import CudaKernel
from lampq_tvm.kernels.cuda.fits import attention_fits, product_fits
from lampq_tvm.kernels.cuda.levels import attention_mma
from lampq_tvm.kernels.cuda.mma import ROWS, Mma
from lampq_tvm.kernels.cuda.product import build_product, shared_words
from lampq_tvm.kernels.cuda.tiles import CudaTiles, default_tiles
from lampq_tvm.kernels.shapes import EPILOGUES, ProductShape
from lampq_tvm.lower.cuda.network import lower_cuda
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.records.cuda import CudaRecords, Sizes, attention_key, product_key
from lampq_tvm.tune.cuda.case import EPS, CudaCase, attention_case, product_case
from lampq_tvm.tune.cuda.space import candidates

WIDTHS = {"s8": (8, 8), "w4a8": (4, 8), "s4": (4, 4)}  # that a multiply-add is judged with
WARPS = ((1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (2, 4), (4, 1), (4, 2), (8, 1))  # of an attention: for rows, for keys


@dataclass(frozen=True)
class Candidate:
    """Sizes of a kernel.

    Attributes:
        label: names them in logs and records.
        sizes: as a record has them.
        features: what a cost model sees of them.
        build: makes the kernel under a name.
        case: buffers and the bytes that the oracle expects.
    """

    label: str
    sizes: Sizes
    features: tuple[float, ...]
    build: Callable[[str], CudaKernel]
    case: Callable[[], CudaCase]


@dataclass(frozen=True)
class TunableProduct:
    """A product of codes, LayerNorm in its prologue where it is `normed`."""

    shape: ProductShape
    mma: Mma
    normed: bool
    arch: str

    @property
    def key(self) -> str:
        """Names it within its architecture."""
        return product_key(self.shape, self.mma, self.normed)

    def candidates(self) -> list[Candidate]:
        """All sizes that are worth building, the default ones first."""
        return [self._candidate(tiles) for tiles in candidates(self.shape, self.mma, self.arch, normed=self.normed)]

    def _candidate(self, tiles: CudaTiles) -> Candidate:
        shape, mma, eps = self.shape, self.mma, EPS if self.normed else None
        return Candidate(
            tiles.key,
            dataclasses.asdict(tiles),
            self._features(tiles),
            lambda name: build_product(shape, mma, tiles=tiles, norm_eps=eps, name=name),
            lambda: product_case(shape, *WIDTHS[mma.name], mma, tiles, normed=self.normed),
        )

    def _features(self, tiles: CudaTiles) -> tuple[float, ...]:
        """Sizes, blocks, work beyond the edge, sums of a thread, shared memory, steps."""
        rows, columns = -(-self.shape.rows // tiles.rows), -(-self.shape.n // tiles.columns)
        waste = rows * tiles.rows * columns * tiles.columns / (self.shape.rows * self.shape.n)
        m, n = tiles.warp_tile
        shared = shared_words(self.shape, self.mma, tiles, normed=self.normed)
        steps = self.shape.k * self.mma.a_bits / 32 / tiles.words
        logs = (rows * columns, m, n, shared, steps, *dataclasses.astuple(tiles))
        return (*(math.log2(x) for x in logs), waste)


@dataclass(frozen=True)
class TunableAttention:
    """Attention on codes."""

    shape: CudaAttentionShape
    arch: str

    @property
    def key(self) -> str:
        """Names it within its architecture."""
        return attention_key(self.shape)

    def candidates(self) -> list[Candidate]:
        """Warps that have rows and keys and fit the architecture, the default ones first."""
        rows, groups = -(-self.shape.tokens // ROWS), -(-self.shape.tokens // GROUP)
        default = with_warps(self.shape)
        able = [(r, k) for r, k in WARPS if r <= rows and k <= groups]
        shapes = [dataclasses.replace(self.shape, row_warps=r, key_warps=k) for r, k in able]
        found = dict.fromkeys([default, *(shape for shape in shapes if attention_fits(shape, self.arch))])
        return [self._candidate(shape) for shape in found]

    def _candidate(self, shape: CudaAttentionShape) -> Candidate:
        return Candidate(
            f"{shape.row_warps}x{shape.key_warps}",
            {"row_warps": shape.row_warps, "key_warps": shape.key_warps},
            (float(shape.row_warps), float(shape.key_warps), float(math.prod(shape.grid))),
            lambda name: build_attention(shape, attention_mma(self.arch), name=name),
            lambda: attention_case(shape),
        )


Tunable = TunableProduct | TunableAttention


def tunables(qm: QuantizedModel, arch: str, batch: int) -> list[Tunable]:
    """The distinct kernels of a network at a batch size that have sizes to choose; float16 ones keep their default.

    Lowering asks for a product with a LayerNorm only to find that it does not fit: such a one is no kernel of the network.
    """
    asked = _Asked(arch)
    lower_cuda(qm, arch, batch, asked)
    products = [
        TunableProduct(shape, mma, normed, arch)
        for shape, mma, normed in asked.products
        if mma.name in WIDTHS and shape.epilogue in EPILOGUES
        if product_fits(shape, mma, default_tiles(shape, mma), arch, normed=normed)
    ]
    attentions = [TunableAttention(shape, arch) for shape in asked.attentions if attention_fits(with_warps(shape), arch)]
    return [*products, *attentions]


class _Asked(CudaRecords):
    """Records that remember what lowering asked them for."""

    def __init__(self, arch: str) -> None:
        super().__init__(arch)
        self.products: dict[tuple[ProductShape, Mma, bool], None] = {}
        self.attentions: dict[CudaAttentionShape, None] = {}

    def product(self, shape: ProductShape, mma: Mma, normed: bool) -> CudaTiles:
        """Tiles of a product."""
        self.products[shape, mma, normed] = None
        return super().product(shape, mma, normed)

    def attention(self, shape: CudaAttentionShape) -> CudaAttentionShape:
        """An attention with its warps."""
        self.attentions[shape] = None
        return super().attention(shape)
