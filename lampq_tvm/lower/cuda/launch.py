"""What lowering makes of an operator on a GPU: launches of kernels, with recipes for their constant arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lampq_tvm.kernels.cuda.emit import CudaKernel
from lampq_tvm.kernels.shapes import round_up
from lampq_tvm.kinds import Encode

Recipe = dict[str, Any]
BITS = {"int4": 4, "int8": 8, "uint8": 8, "float16": 16, "float32": 32}


@dataclass(frozen=True)
class Value:
    """A value in device memory: rows of channels, each row of codes at a multiple of 16 bytes.

    Attributes:
        name: the operator that gives it, or a step of one.
        rows, channels: as a matrix, the batch included.
        dtype: `int8`, `int4` (two codes a byte, the first in the low half), `uint8`, `float16` or `float32`.
    """

    name: str
    rows: int
    channels: int
    dtype: str

    @property
    def row_bytes(self) -> int:
        """Bytes from row to row."""
        if self.dtype == "float32":
            return 4 * self.channels
        return round_up(self.channels * BITS[self.dtype], 128) // 8

    @property
    def bytes(self) -> int:
        """Bytes of the whole value."""
        return self.rows * self.row_bytes


@dataclass(frozen=True)
class Launch:
    """One kernel launch.

    Attributes:
        kernel: the kernel's name; launches of equal names share one kernel.
        build: makes the kernel under that name.
        reads: values by the kernel's buffers.
        params: recipes of constants by the kernel's buffers.
        out: the buffer that it writes, and the value that this gives.
        also: the same of further values: of a LayerNorm that follows a product.
        over: name of the value whose memory it writes over, in place; None where it writes somewhere new.
        macs: multiply-adds on tensor cores; rate: the width at which they run (`int8`, `int4`, `fp16`).
        read_bytes: of the values that it reads, which lowering the network fills in.
    """

    kernel: str
    build: Callable[[str], CudaKernel]
    reads: Mapping[str, str]
    params: Mapping[str, Recipe]
    out: tuple[str, Value]
    over: str | None = None
    also: tuple[tuple[str, Value], ...] = ()
    macs: int = 0
    rate: str = "int8"
    read_bytes: int = 0

    @property
    def value_bytes(self) -> int:
        """Bytes of the values that it reads and writes."""
        return self.read_bytes + sum(value.bytes for _, value in self.outs) + (self.out[1].bytes if self.over else 0)

    @property
    def weight_bytes(self) -> int:
        """Bytes of its weights, as they lie in memory."""
        weights = [recipe for recipe in self.params.values() if recipe["from"] == "words"]
        return sum(4 * int(recipe["shape"][0]) * int(recipe["words"]) for recipe in weights)

    @property
    def outs(self) -> tuple[tuple[str, Value], ...]:
        """Every buffer that it writes, with its value."""
        return (self.out, *self.also)


def array(tensor: str) -> Recipe:
    """A payload tensor as it is."""
    return {"from": "array", "tensor": tensor}


def encoded(name: str, encode: Encode, buffer: str = "range", table: str = "table") -> dict[str, Recipe]:
    """The parameter that says how an operator's codes are stored: their range, or its table; float16 values have none."""
    if encode.table is not None:
        return {table: array(f"{name}.table")}
    low, high = encode.grid.low, encode.grid.high
    return {} if encode.grid.is_float else {buffer: {"from": "values", "values": [low, high], "dtype": "float32"}}


class Normalizes(Protocol):
    """What is known of a LayerNorm or RMSNorm."""

    @property
    def eps(self) -> float:
        """Added to the mean of the squares."""

    @property
    def centred(self) -> bool:
        """Whether the mean is taken out first."""


def text_of(eps: float) -> str:
    """A number as part of a kernel's name."""
    return f"{eps!r}".replace("-", "m").replace(".", "p")


def norm_text(norm: Normalizes) -> str:
    """What a norm is, as part of a kernel's name: `e1em06`, of one without a mean `q1em06`."""
    return f"{'e' if norm.centred else 'q'}{text_of(norm.eps)}"


def builder(build: Callable[..., CudaKernel], *args: Any, **options: Any) -> Callable[[str], CudaKernel]:
    """Makes a kernel of these sizes under the name that it is given."""
    return lambda name: build(*args, **options, name=name)
