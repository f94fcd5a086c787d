"""Records of CUDA kernels: sizes of a product's tiles or an attention's warps, one JSON file each, `<arch>/<kernel>.json`.

Found as CPU records are: in the user's database first, then among the shipped ones. A kernel without a record takes the
default sizes; a record of an architecture holds for no other.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import pydantic

from lampq_tvm.files import Schema
from lampq_tvm.kernels.cuda.attention_shape import CudaAttentionShape, with_warps
from lampq_tvm.kernels.cuda.fits import attention_fits, product_fits
from lampq_tvm.kernels.cuda.mma import Mma
from lampq_tvm.kernels.cuda.tiles import MOST_WARPS, CudaTiles, check_tiles, default_tiles
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.progress import note
from lampq_tvm.records.held import HeldRecords, held_records, parse_held
from lampq_tvm.store import write_atomic

Sizes = dict[str, Annotated[int, pydantic.Field(ge=0, le=1 << 20)]]


class CudaRecord(Schema):
    """The fastest sizes that were found for a kernel.

    Attributes:
        arch, kernel: what it is for (`product_key`, `attention_key`).
        sizes: fields of `CudaTiles`, or `row_warps` and `key_warps`.
        us, default_us: median microseconds of a launch among others of its kind, of these sizes and of the default ones.
        device: what measured them; clocks_mhz: its clock right after, where readable.
        trials, failed: candidates timed, and those that did not build or gave a wrong byte.
        history: microseconds of every candidate by its key.
    """

    version: Literal[1] = 1
    arch: str
    kernel: str
    sizes: Sizes
    us: float = pydantic.Field(gt=0)
    default_us: float = pydantic.Field(gt=0)
    kind: Literal["measured"] = "measured"
    device: str
    clocks_mhz: float | None = None
    trials: int = pydantic.Field(ge=1)
    failed: int = pydantic.Field(ge=0)
    history: dict[str, float] = {}

    def save(self, database: Path) -> None:
        """Write it into a database, whole or not at all."""
        write_atomic(_path(database, self.arch, self.kernel), (self.model_dump_json(indent=1) + "\n").encode())


def product_key(shape: ProductShape, mma: Mma, normed: bool) -> str:
    """Names a product within its architecture (`codes_m197_n1152_k384_normed_s8`)."""
    return f"{shape.key}{'_normed' if normed else ''}_{mma.name}"


def attention_key(shape: CudaAttentionShape) -> str:
    """Names an attention within its architecture (`attention_i1_t197_h6x64`), biases of its scores included."""
    biased = f"_g{shape.groups}_{shape.patterns}" if shape.groups else ""
    return f"attention_i{shape.images}_t{shape.tokens}_h{shape.heads}x{shape.head_dim}{biased}"


class CudaRecords:
    """Tuned sizes by kernel, for `lower_cuda`, from the records that there were when it was made.

    Args:
        arch: `sm_90`, ...
        database: the user's; None takes the shipped records alone.
        held: what was read from there before.
    """

    def __init__(self, arch: str, database: Path | None = None, held: HeldRecords | None = None) -> None:
        self.arch = arch
        self._held = held or held_records(database, arch)

    def product(self, shape: ProductShape, mma: Mma, normed: bool) -> CudaTiles:
        """Tiles of a product."""
        sizes = self._sizes(product_key(shape, mma, normed), {field.name for field in dataclasses.fields(CudaTiles)})
        tiles = None if sizes is None else CudaTiles(**sizes)
        if tiles is None or not check_tiles(tiles, mma, normed):
            return default_tiles(shape, mma)
        return tiles if product_fits(shape, mma, tiles, self.arch, normed=normed) else default_tiles(shape, mma)

    def attention(self, shape: CudaAttentionShape) -> CudaAttentionShape:
        """An attention with its warps."""
        sizes = self._sizes(attention_key(shape), {"row_warps", "key_warps"})
        if sizes is None:
            return with_warps(shape)
        tuned = dataclasses.replace(shape, **sizes)
        return tuned if tuned.warps <= MOST_WARPS and attention_fits(tuned, self.arch) else with_warps(shape)

    def digest(self) -> str:
        """Hex sha256 over every record that could be used: changes when a build's result could."""
        return self._held.digest()

    def _sizes(self, kernel: str, names: set[str]) -> Sizes | None:
        found = (self._parse(path, raw, kernel, names) for path, raw in self._held.of(kernel))
        return next((sizes for sizes in found if sizes is not None), None)

    def _parse(self, path: Path, raw: bytes, kernel: str, names: set[str]) -> Sizes | None:
        record = parse_held(raw, path, CudaRecord)
        if record is None:
            return None
        if (record.arch, record.kernel) != (self.arch, kernel) or set(record.sizes) != names or min(record.sizes.values()) < 1:
            note(f"warning: {path}: not a record of this kernel, not used; delete it and tune again")
            return None
        return record.sizes


def _path(database: Path, arch: str, kernel: str) -> Path:
    return database / arch / f"{kernel}.json"
