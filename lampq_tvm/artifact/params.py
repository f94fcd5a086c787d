"""How the kernels' constants come from the payload: recipes as a schema, judged against the payload's tensors before use."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import numpy as np
import pydantic

from lampq_tvm.files import Schema, loads_json
from lampq_tvm.kinds import Kind

ITEM_BYTES = {"I8": 1, "U8": 1, "BOOL": 1, "I16": 2, "U16": 2, "F16": 2, "I32": 4, "U32": 4, "F32": 4}
ITEM_BYTES |= {"I64": 8, "U64": 8, "F64": 8}
INTEGERS = ("I8", "U8", "I16", "U16", "I32", "U32", "I64")
PER_WORD = {"s8": 4, "s4": 8, "w4a8": 8, "f16": 2}
SLACK = 512  # elements that a layout may add to an axis
GROWTH, BASE_BYTES = 16, 256 << 20  # memory of all constants: at most so many times the payload, and so much
MAX_HEADER_BYTES = 64 << 20

Dim = Annotated[int, pydantic.Field(ge=1, lt=1 << 31)]
Name = Annotated[str, pydantic.Field(min_length=1, max_length=512)]
Number = int | float
Nested = tuple[Number, ...] | tuple[tuple[tuple[tuple[Number, ...], ...], ...], ...]
Matrix = tuple[Dim, Dim]
Dtype = Literal["int8", "uint8", "int16", "int32", "int64", "float16", "float32"]


class Tensor(Schema):
    """A tensor of the payload, as safetensors' header describes it."""

    dtype: str
    shape: tuple[Annotated[int, pydantic.Field(ge=0, lt=1 << 40)], ...] = pydantic.Field(max_length=8)
    data_offsets: tuple[int, int]

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class Array(Schema):
    """A tensor as it is, in another shape or dtype, or `times` below itself."""

    from_: Literal["array"] = pydantic.Field(alias="from")
    tensor: Name
    shape: tuple[Dim, ...] | None = pydantic.Field(default=None, max_length=8)
    dtype: Dtype | None = None
    times: Annotated[int, pydantic.Field(ge=1, le=1 << 16)] = 1

    def bytes_of(self, payload: Mapping[str, Tensor]) -> int:
        """Memory of the constant, in bytes; ValueError where it does not fit the payload."""
        tensor = _tensor(payload, self.tensor)
        _need(self.shape is None or math.prod(self.shape) == tensor.count, f"{self.tensor} has another size")
        _need(self.times == 1 or len(self.shape or tensor.shape) <= 2, f"{self.tensor} has too many axes to be repeated")
        size = ITEM_BYTES[tensor.dtype] if self.dtype is None else np.dtype(self.dtype).itemsize
        return tensor.count * self.times * size


class Values(Schema):
    """Numbers that stand in the recipe."""

    from_: Literal["values"] = pydantic.Field(alias="from")
    values: Nested
    dtype: Dtype

    def bytes_of(self, payload: Mapping[str, Tensor]) -> int:
        """As of `Array`."""
        try:
            return np.array(self.values, self.dtype).nbytes
        except (OverflowError, TypeError) as e:
            raise ValueError(f"values that are no {self.dtype}") from e


class Weights(Schema):
    """A bit stream unpacked, padded with zeros and laid out for a CPU."""

    from_: Literal["weights", "pairs"] = pydantic.Field(alias="from")
    tensor: Name
    bits: Annotated[int, pydantic.Field(ge=2, le=8)]
    zero: Name | None = None
    levels: Name | None = None
    shape: Matrix
    padded: Matrix
    lanes: Annotated[int, pydantic.Field(ge=1, le=SLACK)]
    group: Annotated[int, pydantic.Field(ge=1, le=SLACK)]

    def bytes_of(self, payload: Mapping[str, Tensor]) -> int:
        """As of `Array`."""
        _check_stream(payload, self.tensor, self.bits, self.shape)
        _check_decoding(payload, self.zero, self.levels, self.bits, self.shape)
        fits = all(n <= p < n + SLACK for n, p in zip(self.shape, self.padded, strict=True))
        whole = self.padded[0] % self.lanes == 0 and self.padded[1] % self.group == 0
        _need(fits and whole, f"{self.tensor} is padded wrongly")
        plain = (self.bits, self.group, self.zero, self.levels) == (2, 2, None, None)
        _need(self.from_ == "weights" or plain, f"{self.tensor} has no pairs")
        return math.prod(self.padded)


class Words(Schema):
    """Weights as the 32-bit words that a GPU reads."""

    from_: Literal["words"] = pydantic.Field(alias="from")
    tensor: Name
    bits: Annotated[int, pydantic.Field(ge=2, le=Kind.FLOAT16.bits)]
    zero: Name | None = None
    levels: Name | None = None
    shape: Matrix
    layout: Literal["s8", "s4", "w4a8", "f16"]
    words: Dim

    def bytes_of(self, payload: Mapping[str, Tensor]) -> int:
        """As of `Array`."""
        kind = Kind.FLOAT16 if self.layout == "f16" else Kind.INT8
        _need((self.bits <= Kind.INT8.bits) == (kind is Kind.INT8), f"{self.tensor} has another kind of words")
        _check_stream(payload, self.tensor, self.bits, self.shape, kind)
        _check_decoding(payload, self.zero, self.levels, self.bits, self.shape)
        held = self.words * PER_WORD[self.layout]
        _need(self.shape[1] <= held < self.shape[1] + SLACK, f"{self.tensor} does not fit into {self.words} words a row")
        _need(self.layout != "w4a8" or held % 32 == 0, f"{self.tensor} has no whole groups of 32")
        return 4 * self.shape[0] * self.words


class Correction(Schema):
    """-shift times the sum over k of the weights."""

    from_: Literal["correction"] = pydantic.Field(alias="from")
    tensor: Name
    bits: Annotated[int, pydantic.Field(ge=2, le=8)]
    zero: Name | None = None
    levels: Name | None = None
    shape: Matrix
    shift: Annotated[int, pydantic.Field(ge=-256, le=256)]

    def bytes_of(self, payload: Mapping[str, Tensor]) -> int:
        """As of `Array`."""
        _check_stream(payload, self.tensor, self.bits, self.shape)
        _check_decoding(payload, self.zero, self.levels, self.bits, self.shape)
        return 4 * self.shape[0]


class Bias(Schema):
    """Table entries of attention scores put in their places."""

    from_: Literal["bias"] = pydantic.Field(alias="from")
    tensor: Name
    at: Name
    pattern: Name | None = None
    padded: tuple[Dim, Dim, Dim, Dim]

    def bytes_of(self, payload: Mapping[str, Tensor]) -> int:
        """As of `Array`."""
        table, at = _tensor(payload, self.tensor), _tensor(payload, self.at)
        _need(len(table.shape) == 2 and len(at.shape) == 3 and at.dtype in INTEGERS, f"{self.tensor} or its places are none")
        groups = at.shape[0]
        if self.pattern is not None:
            pattern = _tensor(payload, self.pattern)
            _need(len(pattern.shape) == 1 and pattern.dtype in INTEGERS, f"{self.pattern} is no list of numbers")
            groups = pattern.shape[0]
        _need(self.padded[:2] == (groups, table.shape[0]), f"{self.tensor} has other groups or heads")
        fits = all(n <= p < n + SLACK for n, p in zip(at.shape[1:], self.padded[2:], strict=True))
        _need(fits, f"{self.tensor} is padded wrongly")
        return math.prod(self.padded) * ITEM_BYTES[table.dtype]


Recipe = Annotated[Array | Values | Weights | Words | Correction | Bias, pydantic.Field(discriminator="from_")]


def payload_tensors(raw: bytes) -> dict[str, Tensor]:
    """Tensors of a safetensors file by name, from its header; ValueError unless they fill the file and are of known dtypes."""
    size = int.from_bytes(raw[:8], "little")
    _need(len(raw) >= 8 and size <= min(MAX_HEADER_BYTES, len(raw) - 8), "its header does not fit")
    rows = loads_json(raw[8 : 8 + size])
    _need(isinstance(rows, dict), "its header is no object")
    found = {k: Tensor.model_validate_json(json.dumps(row)) for k, row in rows.items() if k != "__metadata__"}
    end = 0
    for name, tensor in sorted(found.items(), key=lambda item: item[1].data_offsets):
        _need(tensor.dtype in ITEM_BYTES, f"{name} is of a kind {tensor.dtype} that is not served")
        start, stop = tensor.data_offsets
        _need(start == end and stop - start == tensor.count * ITEM_BYTES[tensor.dtype], f"{name} is out of place")
        end = stop
    _need(end == len(raw) - 8 - size, "bytes after its last tensor")
    return found


def check_recipes(recipes: Iterable[Recipe], payload: Mapping[str, Tensor], payload_bytes: int) -> None:
    """ValueError unless the recipes fit the payload and ask for memory in proportion to it."""
    total = sum(recipe.bytes_of(payload) for recipe in recipes)
    _need(total <= GROWTH * payload_bytes + BASE_BYTES, f"its constants take {total} bytes of a payload of {payload_bytes}")


def _tensor(payload: Mapping[str, Tensor], name: str) -> Tensor:
    _need(name in payload, f"its payload holds no {name}")
    return payload[name]


def _check_stream(payload: Mapping[str, Tensor], name: str, bits: int, shape: Matrix, kind: Kind = Kind.INT8) -> None:
    """ValueError unless a tensor holds a matrix of codes of a width, or of float16 values."""
    tensor, count = _tensor(payload, name), math.prod(shape)
    expected = ("F16", count) if kind.is_float else ("U8", -(-count * bits // 8))
    _need((tensor.dtype, tensor.count) == expected, f"{name} holds no {shape[0]} x {shape[1]} codes of {bits} bits")


def _check_decoding(payload: Mapping[str, Tensor], zero: str | None, levels: str | None, bits: int, shape: Matrix) -> None:
    """ValueError unless zero points are one a row, of codes that leave room for them, or levels one a code."""
    _need(zero is None or levels is None, "codes with zero points and with levels")
    for name, count, what in ((zero, shape[0], "zero points"), (levels, 1 << bits, "levels")):
        if name is not None:
            tensor = _tensor(payload, name)
            _need((tensor.dtype, tensor.shape) == ("I8", (count,)) and bits < 8, f"{name} holds no {count} {what}")


def _need(condition: bool, otherwise: str) -> None:
    """ValueError unless the condition holds."""
    if not condition:
        raise ValueError(otherwise)
