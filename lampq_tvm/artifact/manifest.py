"""What an artifact says of itself, as a schema: judged as a whole, against its sections too, before anything of it is used."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic

from lampq_tvm.artifact.elf import check_cubin, check_library
from lampq_tvm.artifact.launches import Plan, check_plan
from lampq_tvm.artifact.params import Dim, Name, Recipe, check_recipes, payload_tensors
from lampq_tvm.errors import CorruptError, LampqError, UnsupportedError
from lampq_tvm.files import NEWER_HINT, Schema, reason

MAX_BATCH = 1024
MAX_IMAGES_BYTES = 1 << 30  # pixels of one batch
MAX_VALUE_ELEMENTS = 1 << 33
MAX_ARENA_BYTES = 64 << 30
PAYLOAD = "payload.safetensors"
CODE = {"x86": "lib.so", "aarch64": "lib.so", "cuda": "cubins"}  # the section that holds it
UNKNOWN = ("extra_forbidden", "union_tag_invalid")  # pydantic's names of what a newer version may have added

Word = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9_.:@+-]{1,100}$")]
Digest = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]
Width = Annotated[int, pydantic.Field(ge=2, le=32)]
Levels = Annotated[tuple[int, ...], pydantic.Field(max_length=256)]
Bytes = Annotated[int, pydantic.Field(ge=0, le=MAX_ARENA_BYTES)]


class Image(Schema):
    """The image that it takes; `network.model.InputSpec`."""

    channels: Annotated[int, pydantic.Field(ge=1, le=4096)]
    height: Annotated[int, pydantic.Field(ge=1, le=1 << 16)]
    width: Annotated[int, pydantic.Field(ge=1, le=1 << 16)]
    mean: tuple[float, ...]
    std: tuple[Annotated[float, pydantic.Field(gt=0)], ...]
    interpolation: Word = "bicubic"
    crop_pct: Annotated[float, pydantic.Field(gt=0, le=10)] = 1.0

    @pydantic.model_validator(mode="after")
    def _per_channel(self) -> Image:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError("mean and std need one number for each channel")
        return self


class LayerRow(Schema):
    """A row of `inspect`."""

    name: Name
    type: Word
    w_bits: Width
    a_bits: Width
    params: Annotated[int, pydantic.Field(ge=0, lt=1 << 48)]


class PartRow(Schema):
    """A part that stays float; `network.macs.Part`."""

    name: Name
    operators: dict[Word, Annotated[int, pydantic.Field(ge=1)]]
    macs: Annotated[int, pydantic.Field(ge=0, lt=1 << 60)]


class ValueRow(Schema):
    """An operator's output."""

    name: Name
    shape: tuple[Dim, ...] = pydantic.Field(min_length=2, max_length=8)
    dtype: Literal["int8", "uint8", "float16", "float32"]


class SectionRow(Schema):
    """A section, whose place and digest the container's reader has judged."""

    name: Name
    offset: Annotated[int, pydantic.Field(ge=0)]
    size: Annotated[int, pydantic.Field(ge=0)]
    sha256: Digest


class Manifest(Schema):
    """The whole of it; `docs/artifact.md` says what each field means."""

    version: Annotated[Literal[1], pydantic.Field(alias="schema")]
    sections: tuple[SectionRow, ...]
    model: Annotated[str, pydantic.Field(max_length=4096)]
    target: Word
    arch: Literal["x86", "aarch64", "cuda"]
    isa: Word
    features: tuple[Word, ...] = pydantic.Field(max_length=256)
    batch: Annotated[int, pydantic.Field(ge=1, le=MAX_BATCH)]
    input: Image
    layers: tuple[LayerRow, ...]
    parts: tuple[PartRow, ...] = ()
    macs: Annotated[int, pydantic.Field(ge=0, lt=1 << 60)] | None = None
    quantizers: dict[Name, dict[Word, dict[Word, Word | int | float | Levels]]] = {}
    weights: Literal["trained", "random"]
    has_classifier: bool
    versions: dict[Word, Word]
    params: tuple[Recipe, ...]
    values: tuple[ValueRow, ...] = pydantic.Field(min_length=1)
    outputs: tuple[Name, ...] | None = pydantic.Field(default=None, min_length=1, max_length=64)
    float_model: Digest | None = None
    arena_bytes: Bytes | None = None
    largest_activation_bytes: Bytes | None = None
    cuda: Plan | None = None

    @pydantic.model_validator(mode="after")
    def _sizes(self) -> Manifest:
        image = self.input.channels * self.input.height * self.input.width
        if self.batch * image > MAX_IMAGES_BYTES:
            raise ValueError(f"a batch of {self.batch} images takes more than {MAX_IMAGES_BYTES} bytes")
        if (self.arch == "cuda") != (self.cuda is not None):
            raise ValueError("a GPU's launches are there for another machine, or missing")
        if any("name" not in parameters for roles in self.quantizers.values() for parameters in roles.values()):
            raise ValueError("a quantizer has no name")
        names = [value.name for value in self.values]
        if len(set(names)) != len(names):
            raise ValueError("two values have one name")
        given = self.outputs or ()
        if not set(given) <= {value.name for value in self.values if value.dtype == "float32"}:
            raise ValueError("an output is no value of float32")
        if len(given) > 1 and self.has_classifier:
            raise ValueError("several outputs of a classifier")
        if self.cuda is not None and any(len(bucket.given) != max(1, len(given)) for bucket in self.cuda.buckets):
            raise ValueError("its GPU plan gives another number of outputs")
        batches = {self.batch} if self.cuda is None else {bucket.batch for bucket in self.cuda.buckets}
        if self.batch not in batches or any(value.shape[0] not in batches for value in self.values):
            raise ValueError("a value is of another batch")
        if max(math.prod(value.shape) for value in self.values) > MAX_VALUE_ELEMENTS:
            raise ValueError("a value is too large")
        return self


def check_manifest(given: Mapping[str, Any], sections: Mapping[str, bytes], where: str, hint: str) -> None:
    """Judge a manifest and the sections that it speaks of.

    Args:
        given: the manifest's JSON values.
        where, hint: of errors.

    Raises:
        UnsupportedError: it has a field that this version does not know.
        CorruptError: it does not fit itself or its sections.
    """
    try:
        manifest = Manifest.model_validate_json(json.dumps(given), strict=True)
        if None in given.values():
            raise ValueError("a field is null")
        needed = (CODE[manifest.arch], PAYLOAD, "plan.json")
        if set(sections) != set(needed):
            raise ValueError(f"its sections are {', '.join(sorted(sections)) or 'none'}, not {', '.join(needed)}")
        _check_code(manifest, sections)
        payload = payload_tensors(sections[PAYLOAD])
        check_recipes(manifest.params, payload, len(sections[PAYLOAD]))
    except pydantic.ValidationError as e:
        raise _refused(e, where, hint) from e
    except (ValueError, RecursionError) as e:
        raise CorruptError(f"its parts do not fit together: {reason(e)}", where=where, hint=hint) from e


def _check_code(manifest: Manifest, sections: Mapping[str, bytes]) -> None:
    """ValueError unless the compiled code is whole, of the right kind, and what the manifest says of it."""
    if manifest.cuda is None:
        check_library(sections["lib.so"], manifest.arch)
        return
    cubins, spec = sections["cubins"], manifest.input
    image = spec.channels, spec.height, spec.width
    check_plan(manifest.cuda, len(cubins), len(manifest.params), [value.name for value in manifest.values], image)
    for kernel in manifest.cuda.kernels:
        check_cubin(cubins[kernel.offset : kernel.offset + kernel.size])


def _refused(error: pydantic.ValidationError, where: str, hint: str) -> LampqError:
    found: list[Any] = error.errors(include_url=False, include_context=False, include_input=False)
    first = next((e for e in found if e["type"] in UNKNOWN), None)
    if first is None:
        return CorruptError(f"its manifest is not one: {reason(error)}", where=where, hint=hint)
    place = ".".join(str(x) for x in first["loc"])[:100]
    return UnsupportedError(f"its manifest says {place}, which this version does not know", where=where, hint=NEWER_HINT)
