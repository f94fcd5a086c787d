"""Tuning records: plain tile sizes, one JSON file per kernel, `<isa>/<kernel>.json` in `schedules/` or a database.

A record belongs to an instruction set level, never to a CPU's name. It says in which class of caches it was timed, and holds
for every class: the space (space.py) leaves out tiles that would not fit into the smallest first level. Looked up in the
user's database first, then among the shipped ones; a kernel without a record takes the default schedule.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pydantic

from lampq_tvm.progress import note
from lampq_tvm.resources import data_dir
from lampq_tvm.store import write_atomic

if TYPE_CHECKING:  # TVM behind them takes seconds; whoever only reads or compares records does not need it
    from lampq_tvm.kernels.tiles import Tiles
    from lampq_tvm.kernels.tunable import Kernel


class TileSizes(pydantic.BaseModel):
    """`Tiles` as JSON."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    rows: int = pydantic.Field(ge=1)
    vectors: int = pydantic.Field(ge=1)
    group: int = pydantic.Field(ge=1)
    unroll: int = pydantic.Field(ge=1)


class Judged(pydantic.BaseModel):
    """How the candidates of a record were judged.

    Attributes:
        device: `local`, `rpc://host:port` without its key, or `emulated CPU`.
        target: what they were compiled for.
        core, figures: of an emulated CPU, the file of `targets/cores/` that made cycles of its counts, and its digest.
        caches: first and second level data cache of a core that times were taken on, `32K/1024K`; None where unknown, and of
            an emulated CPU, whose counts know no caches.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    device: str
    target: str
    core: str | None = None
    figures: str | None = None
    caches: str | None = None


class Record(pydantic.BaseModel):
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
        history: every candidate in the order of its trial, with its cost or with how it failed.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
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
    if not path.is_file():
        return None
    try:
        record = Record.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        note(f"warning: {path}: not a tuning record, not used; delete it and run lampq tune again")
        return None
    if (record.isa, record.kernel) != (isa, kernel):
        note(f"warning: {path}: holds the record of {record.isa}/{record.kernel}, not used")
        return None
    return record


class Records:
    """Tuned tiles by kernel, for `lower`: call it with a kernel.

    Args:
        database: the user's; None takes the shipped records alone.
    """

    def __init__(self, database: Path | None) -> None:
        self.folders = ([] if database is None else [database]) + [data_dir("schedules")]
        self._known: dict[tuple[str, str], Tiles | None] = {}

    def __call__(self, kernel: Kernel) -> Tiles | None:
        """Tuned tiles, or None for the default ones."""
        key = (kernel.isa, kernel.key)
        if key not in self._known:
            self._known[key] = next((t for f in self.folders if (t := _usable(f, kernel))), None)
        return self._known[key]

    def digest(self, isa: str) -> str:
        """Hex sha256 over every record of a level that could be used: changes when a build's result could."""
        h = hashlib.sha256()
        for folder in self.folders:
            for path in sorted((folder / isa).glob("*.json")):
                h.update(f"{path.name}\0".encode() + path.read_bytes())
            h.update(b"\0")
        return h.hexdigest()


def _usable(folder: Path, kernel: Kernel) -> Tiles | None:
    from lampq_tvm.kernels.tiles import Tiles

    record = read_record(folder, kernel.isa, kernel.key)
    if record is None:
        return None
    if record.cost >= record.default_cost:
        return kernel.default  # it won, whatever its sizes are in this version
    tiles = Tiles(**record.tiles.model_dump())
    if kernel.takes(tiles):
        return tiles
    note(f"warning: {record_path(folder, kernel.isa, kernel.key)}: its tiles are too large for the kernel, not used")
    return None
