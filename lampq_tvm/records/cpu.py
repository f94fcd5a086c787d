"""Tuning records: plain tile sizes, one JSON file per kernel, `<isa>/<kernel>.json` in `schedules/` or a database.

A record belongs to an instruction set level, never to a CPU's name. It says in which class of caches it was timed, and holds
for every class: the space (space.py) leaves out tiles that would not fit into the smallest first level. Looked up in the
user's database first, then among the shipped ones; a kernel without a record takes the default schedule.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import pydantic

from lampq_tvm.files import Schema
from lampq_tvm.progress import note
from lampq_tvm.records.held import HeldRecords, held_records, parse_held, read_held
from lampq_tvm.store import write_atomic

if TYPE_CHECKING:  # TVM behind them takes seconds; whoever only reads or compares records does not need it
    from lampq_tvm.kernels.tiles import Tiles
    from lampq_tvm.kernels.tunable import Kernel


Size = Annotated[int, pydantic.Field(ge=1, le=1 << 20)]


class TileSizes(Schema):
    """`Tiles` as JSON."""

    rows: Size
    vectors: Size
    group: Size
    unroll: Size


class Judged(Schema):
    """How the candidates of a record were judged.

    Attributes:
        device: `local`, `rpc://host:port` without its key, or `emulated CPU`.
        target: what they were compiled for.
        core, figures: of an emulated CPU, the file of `targets/cores/` that made cycles of its counts, and its digest.
        caches: first and second level data cache of a core that times were taken on, `32K/1024K`; None where unknown, and of
            an emulated CPU, whose counts know no caches.
    """

    device: str
    target: str
    core: str | None = None
    figures: str | None = None
    caches: str | None = None


class Record(Schema):
    """The fastest tiles that were found for a kernel.

    Attributes:
        isa, kernel: what it is for (`Kernel.key`).
        tiles: the sizes.
        unit: `us` (microseconds); where time means nothing, `cycles` or `instructions` of one thread.
        cost, default_cost: lower quartile of the samples of these tiles and of the default ones, measured in turns.
        kind: `measured`, or `estimated` where the unit is no time.
        trials, failed: candidates tried, and those that did not build, crashed, hung or gave a wrong output.
        gate: every output was equal to the oracle's.
        seed: of the search.
        judged: how costs were found; None in records of older versions.
        clocks_mhz: of the device's cores right after the last measurement, where readable.
        history: every candidate in the order of its trial, with its cost or with how it failed.
    """

    version: Literal[1] = 1
    isa: str
    kernel: str
    tiles: TileSizes
    unit: Literal["us", "cycles", "instructions"]
    cost: float = pydantic.Field(gt=0)
    default_cost: float = pydantic.Field(gt=0)
    kind: Literal["measured", "estimated"]
    trials: int = pydantic.Field(ge=1)
    failed: int = pydantic.Field(ge=0)
    gate: Literal["exact"] = "exact"
    seed: int
    judged: Judged | None = None
    clocks_mhz: float | None = None
    history: dict[str, float | str] = {}

    def save(self, database: Path) -> None:
        """Write it into a database, whole or not at all."""
        write_atomic(record_path(database, self.isa, self.kernel), (self.model_dump_json(indent=1) + "\n").encode())


def record_path(database: Path, isa: str, kernel: str) -> Path:
    """The file of a kernel's record."""
    return database / isa / f"{kernel}.json"


def read_record(database: Path, isa: str, kernel: str) -> Record | None:
    """A kernel's record; None, with a warning, where its file is damaged."""
    path = record_path(database, isa, kernel)
    raw = read_held(path) if os.path.lexists(path) else None
    return None if raw is None else parse_record(raw, path, isa, kernel)


def parse_record(raw: bytes, path: Path, isa: str, kernel: str) -> Record | None:
    """The record of a file's content; None, with a warning, where that is none of this kernel."""
    record = parse_held(raw, path, Record)
    if record is not None and (record.isa, record.kernel) != (isa, kernel):
        note(f"warning: {path}: holds the record of {record.isa}/{record.kernel}, not used")
        return None
    return record


class Records:
    """Tuned tiles by kernel, for `lower`: call it with a kernel. It looks at a level once: later records are not seen.

    Args:
        database: the user's; None takes the shipped records alone.
    """

    def __init__(self, database: Path | None) -> None:
        self.database = database
        self._levels: dict[str, HeldRecords] = {}
        self._known: dict[tuple[str, str], Tiles | None] = {}

    def __call__(self, kernel: Kernel) -> Tiles | None:
        """Tuned tiles, or None for the default ones."""
        key = (kernel.isa, kernel.key)
        if key not in self._known:
            found = (_usable(path, raw, kernel) for path, raw in self._level(kernel.isa).of(kernel.key))
            self._known[key] = next((tiles for tiles in found if tiles), None)
        return self._known[key]

    def digest(self, isa: str) -> str:
        """Hex sha256 over every record of a level that could be used: changes when a build's result could."""
        return self._level(isa).digest()

    def _level(self, isa: str) -> HeldRecords:
        if isa not in self._levels:
            self._levels[isa] = held_records(self.database, isa)
        return self._levels[isa]


def _usable(path: Path, raw: bytes, kernel: Kernel) -> Tiles | None:
    from lampq_tvm.kernels.tiles import Tiles

    record = parse_record(raw, path, kernel.isa, kernel.key)
    if record is None:
        return None
    if record.cost >= record.default_cost:
        return kernel.default  # it won, whatever its sizes are in this version
    tiles = Tiles(**record.tiles.model_dump())
    if kernel.takes(tiles):
        return tiles
    note(f"warning: {path}: its tiles are too large for the kernel, not used")
    return None
