"""The CUDA part of a manifest: kernels, memory and launches, judged before anything is loaded.

Everything that the device does lies in the file: one arena per batch size whose offsets were fixed when it was compiled, and
launches whose arguments are addresses in that arena or of the parameters. So each address can be checked beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pydantic

from lampq_tvm.errors import CorruptError
from lampq_tvm.files import Schema, reason
from lampq_tvm.levels import GPU_ARCHES

ALIGN = 16  # bytes: the widest access of a kernel is a 16-byte copy
MAX_BLOCK, MAX_THREADS = (1024, 1024, 64), 1024
MAX_GRID = (2**31 - 1, 65535, 65535)
ITEM_BITS = {"int4": 4, "int8": 8, "uint8": 8, "float16": 16, "float32": 32}
MAX_ARENA_BYTES = 64 << 30
ARENA_GROWTH, ARENA_BASE_BYTES = 1 << 16, 256 << 20  # an arena: at most so many times the image batch, and so much
Extent = tuple[int, int, int]
Size = Annotated[int, pydantic.Field(ge=0, le=MAX_ARENA_BYTES)]
Count = Annotated[int, pydantic.Field(gt=0, le=MAX_ARENA_BYTES)]
Region = tuple[Size, Count]  # offset in the arena, bytes
Argument = tuple[Literal["value"], Size, Count] | tuple[Literal["param"], Size]


class Kernel(Schema):
    """A kernel: its binary within the section `cubins`, its entry there, the dynamic shared memory that it asks for.

    `early`: it waits by itself for the kernel before it, and may start before that one has ended.
    """

    name: str
    entry: str
    offset: Size
    size: Count
    shared_bytes: Size
    early: bool = False


class Launch(Schema):
    """One kernel call; `writes` names the values that are finished with it, whose memory later launches may take over."""

    kernel: Size
    grid: tuple[Count, Count, Count]
    block: tuple[Count, Count, Count]
    args: tuple[Argument, ...]
    writes: tuple[str, ...] = ()


class Value(Schema):
    """A value in the arena: rows of `shape[-1]` elements, `row_bytes` apart; int4 lies two a byte, the low half first."""

    name: str
    offset: Size
    shape: tuple[Count, ...] = pydantic.Field(min_length=2)
    row_bytes: Count
    dtype: Literal["int4", "int8", "uint8", "float16", "float32"]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return math.prod(self.shape[:-1])

    @property
    def size(self) -> int:
        """Bytes from the first element to the last row's end."""
        return self.rows * self.row_bytes

    @property
    def used_row_bytes(self) -> int:
        """Bytes of a row that hold elements."""
        return -(-self.shape[-1] * ITEM_BITS[self.dtype] // 8)


class Bucket(Schema):
    """Everything for one batch size."""

    batch: Count
    arena_bytes: Count
    input: Region
    outputs: tuple[Region, ...] = ()
    output: Region | None = None  # of files of the time when there was but one
    launches: tuple[Launch, ...] = pydantic.Field(min_length=1)
    values: tuple[Value, ...] = ()

    @property
    def given(self) -> tuple[Region, ...]:
        """Where the network's outputs lie."""
        return self.outputs or (() if self.output is None else (self.output,))


class Plan(Schema):
    """The whole CUDA part; `buckets` by rising batch."""

    arch: str
    major: Count
    kernels: tuple[Kernel, ...]
    buckets: tuple[Bucket, ...] = pydantic.Field(min_length=1)


def read_plan(manifest: Mapping[str, Any], cubins_bytes: int, params: int) -> Plan:
    """The checked CUDA part of a manifest.

    Args:
        cubins_bytes: size of the section that holds the binaries.
        params: how many parameters there are.

    Raises:
        CorruptError: it does not fit itself, its binaries, its parameters, or the limits of its architecture.
    """
    try:
        plan = Plan.model_validate(manifest.get("cuda"))
        image = tuple(manifest["input"][key] for key in ("channels", "height", "width"))
        check_plan(plan, cubins_bytes, params, [value["name"] for value in manifest["values"]], image)
    except (KeyError, TypeError, ValueError) as e:
        raise CorruptError(f"its CUDA plan is not consistent ({reason(e)})", hint="compile it again or copy it again") from e
    return plan


def check_plan(plan: Plan, cubins_bytes: int, params: int, names: Sequence[str], image: tuple[int, ...]) -> None:
    """Judge a plan against the rest of its manifest.

    Args:
        cubins_bytes, params: as for `read_plan`.
        names: of the values; image: its (channels, height, width).

    Raises:
        ValueError: it does not fit.
    """
    gpu = GPU_ARCHES.get(plan.arch)
    shared_bytes = gpu.shared_bytes if gpu and gpu.matrix else 0  # plans for chips without matrix instructions are not accepted
    for kernel in plan.kernels:
        _need(kernel.offset + kernel.size <= cubins_bytes, f"kernel {kernel.name} lies outside the binaries")
        _need(kernel.shared_bytes <= shared_bytes, f"kernel {kernel.name} asks for too much shared memory")
    batches = [bucket.batch for bucket in plan.buckets]
    _need(batches == sorted(set(batches)), "its batch sizes are not in order")
    for bucket in plan.buckets:
        _need([value.name for value in bucket.values] == list(names), f"the values of batch {bucket.batch} are others")
        _need(bucket.input[1] == bucket.batch * math.prod(image), f"the input of batch {bucket.batch} is another")
        most = ARENA_GROWTH * bucket.input[1] + ARENA_BASE_BYTES
        _need(bucket.arena_bytes <= most, f"the arena of batch {bucket.batch} is too large for its images")
        _check_bucket(bucket, len(plan.kernels), params)


def _check_bucket(bucket: Bucket, kernels: int, params: int) -> None:
    where = f"batch {bucket.batch}"
    for offset, size in (bucket.input, *bucket.given):
        _need(offset % ALIGN == 0 and offset + size <= bucket.arena_bytes, f"{where}: input or output lies outside the arena")
    _need(bool(bucket.given), f"{where}: there is no output")
    _need(all(size % (4 * bucket.batch) == 0 for _, size in bucket.given), f"{where}: an output is not float32")
    values = {value.name: value for value in bucket.values}
    written: set[str] = set()
    for number, launch in enumerate(bucket.launches):
        _check_launch(launch, f"{where}, launch {number}", bucket.arena_bytes, kernels, params)
        for name in launch.writes:
            _need(
                name in values and name not in written,
                f"{where}, launch {number}: writes {name}, which is no value or was written",
            )
            value = values[name]
            inside = any(
                a[1] <= value.offset and value.offset + value.size <= a[1] + a[2] for a in launch.args if a[0] == "value"
            )
            _need(inside, f"{where}, launch {number}: {name} is no argument")
            written.add(name)
    _need(written == set(values), f"{where}: a value is never written")
    for value in bucket.values:
        aligned = value.offset % ALIGN == 0 and value.row_bytes % (4 if value.dtype == "float32" else 1) == 0
        _need(aligned and value.used_row_bytes <= value.row_bytes, f"{where}: the rows of {value.name} do not fit")
        _need(value.shape[0] == bucket.batch, f"{where}: {value.name} is of another batch")


def _check_launch(launch: Launch, where: str, arena_bytes: int, kernels: int, params: int) -> None:
    _need(launch.kernel < kernels, f"{where}: there is no kernel {launch.kernel}")
    fits = _within(launch.grid, MAX_GRID) and _within(launch.block, MAX_BLOCK) and math.prod(launch.block) <= MAX_THREADS
    _need(fits, f"{where}: a grid of {launch.grid} blocks of {launch.block} threads cannot be launched")
    for argument in launch.args:
        if argument[0] == "param":
            _need(argument[1] < params, f"{where}: there is no parameter {argument[1]}")
        else:
            _, offset, size = argument
            _need(offset % ALIGN == 0, f"{where}: offset {offset} is not a multiple of {ALIGN}")
            _need(offset + size <= arena_bytes, f"{where}: bytes {offset} to {offset + size} lie outside the arena")


def _within(extent: Extent, limit: Extent) -> bool:
    return all(e <= m for e, m in zip(extent, limit, strict=True))


def _need(condition: bool, otherwise: str) -> None:
    """ValueError unless the condition holds."""
    if not condition:
        raise ValueError(otherwise)
