"""The kernels that have sizes to choose: what each is built for, its default sizes, the largest that it takes, its builder."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from tvm.tirx import PrimFunc

from lampq_tvm.kernels.attention import AttentionShape, attention_tiles, build_attention, factors
from lampq_tvm.kernels.isa import LEVELS, dot_for
from lampq_tvm.kernels.isa.dot import Dot
from lampq_tvm.kernels.layernorm import build_layernorm, layernorm_tiles
from lampq_tvm.kernels.product import build_product
from lampq_tvm.kernels.shapes import ProductShape, padded
from lampq_tvm.kernels.sums import LANES
from lampq_tvm.kernels.tiles import Tiles, default_tiles


class Kernel(ABC):
    """What lowering, records and tuning know of a kernel.

    Attributes:
        isa: instruction set level.
    """

    isa: str

    @property
    @abstractmethod
    def key(self) -> str:
        """Names the kernel within its level; records are kept under it."""

    @property
    @abstractmethod
    def default(self) -> Tiles:
        """Sizes without tuning."""

    @property
    @abstractmethod
    def largest(self) -> Tiles:
        """The largest sizes that it takes; any unrolling can be built."""

    @abstractmethod
    def build(self, tiles: Tiles | None = None) -> PrimFunc:
        """The function, with the default sizes where there are none."""

    @property
    def dots(self) -> Sequence[Dot]:
        """The multiply-adds of its register tiles."""
        return ()

    def takes(self, tiles: Tiles) -> bool:
        """Whether it can be built with these sizes."""
        pairs = [(getattr(tiles, name), getattr(self.largest, name)) for name in ("rows", "vectors", "group")]
        inside = tiles.unroll >= 1 and all(1 <= size <= most for size, most in pairs)
        return inside and self.fits(tiles.rows, tiles.vectors)

    def fits(self, rows: int, vectors: int) -> bool:
        """Whether its register tiles can be written at all."""
        return all(dot.fits(rows, vectors) for dot in self.dots)


@dataclass(frozen=True)
class ProductKernel(Kernel):
    """A product with its epilogue; widths with the same multiply-add run the same instructions and share its key."""

    shape: ProductShape
    isa: str
    w_bits: int
    a_bits: int

    @property
    def dot(self) -> Dot:
        """Its multiply-add."""
        return dot_for(self.isa, self.w_bits, self.a_bits)

    @property
    def dots(self) -> Sequence[Dot]:
        """Its one multiply-add."""
        return (self.dot,)

    @property
    def key(self) -> str:
        """Shape and multiply-add (`codes_m197_n576_k192_neon_s8s8_2`)."""
        return f"{self.shape.key}_{self.dot.name}"

    @property
    def default(self) -> Tiles:
        """Sizes without tuning."""
        return default_tiles(self.shape, self.dot)

    @property
    def largest(self) -> Tiles:
        """All rows, all channels, where the registers hold their sums."""
        rows = self.shape.rows
        return Tiles(rows, padded(self.shape, self.dot)[0] // self.dot.lanes, rows)

    def build(self, tiles: Tiles | None = None) -> PrimFunc:
        """The function."""
        return build_product(self.shape, self.isa, self.w_bits, self.a_bits, tiles)


@dataclass(frozen=True)
class AttentionKernel(Kernel):
    """Softmax attention; its scores decide the register tile, its values take as much of it as they have.

    Attributes:
        table: its codes are looked up in a table.
    """

    shape: AttentionShape
    isa: str
    bits: int
    table: bool = False

    @property
    def dots(self) -> Sequence[Dot]:
        """Those of the scores and of the values."""
        return [factor.dot for factor in factors(self.shape, self.isa, self.bits)]

    @property
    def key(self) -> str:
        """Shape and both multiply-adds."""
        return "_".join([self.shape.key, *(dot.name for dot in self.dots), *(["table"] if self.table else [])])

    @property
    def default(self) -> Tiles:
        """Sizes without tuning."""
        return attention_tiles(self.shape, self.isa, self.bits)

    @property
    def largest(self) -> Tiles:
        """All query rows, all keys, where the registers hold their sums."""
        return Tiles(self.shape.tokens, factors(self.shape, self.isa, self.bits)[0].packed[0])

    def build(self, tiles: Tiles | None = None) -> PrimFunc:
        """The function."""
        return build_attention(self.shape, self.isa, self.bits, tiles, table=self.table)


@dataclass(frozen=True)
class LayerNormKernel(Kernel):
    """LayerNorm, or RMSNorm where it is not `centred`, to codes, to what a table has for them, or to float32."""

    rows: int
    channels: int
    eps: float
    to_codes: bool
    isa: str
    table: bool = False
    centred: bool = True

    @property
    def key(self) -> str:
        """Kind, sizes and eps (`layernorm_codes_r197_c192_e1em06`, `rmsnorm_..`)."""
        kind = "table" if self.table else "codes" if self.to_codes else "float"
        norm = "layernorm" if self.centred else "rmsnorm"
        return f"{norm}_{kind}_r{self.rows}_c{self.channels}_e{self.eps!r}".replace("-", "m").replace(".", "p")

    @property
    def default(self) -> Tiles:
        """Sizes without tuning."""
        return layernorm_tiles(self.rows, self.isa)

    @property
    def largest(self) -> Tiles:
        """All rows."""
        return Tiles(self.rows, 1)

    @property
    def registers(self) -> int:
        """Registers of one row's sums."""
        return LANES // LEVELS[self.isa].lanes

    def build(self, tiles: Tiles | None = None) -> PrimFunc:
        """The function."""
        made = functools.partial(build_layernorm, self.rows, self.channels, self.eps, self.to_codes, self.isa, tiles)
        return made(table=self.table, centred=self.centred)
