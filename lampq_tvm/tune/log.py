"""The trial log of a kernel: one line per measurement, added when it is known and never changed.

A line is `{"crc": ..., "trial": {...}}`. A kill can leave a torn last line, which is cut off; any other bad line goes to
a file beside the log, with a warning, and its trial is measured again.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from lampq_tvm.errors import CorruptError, OutputError
from lampq_tvm.files import loads_json, read_bytes
from lampq_tvm.locks import locked
from lampq_tvm.progress import note
from lampq_tvm.store import write_atomic

MAX_BYTES = 256 << 20
Cost = Annotated[float, pydantic.Field(gt=0)]


class Trial(pydantic.BaseModel):
    """What a search reads of a line; others keep what else they noted."""

    model_config = pydantic.ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    outcome: str = "exact"
    unit: Literal["us", "cycles", "instructions"] = "us"
    cost: Cost | None = None
    us: Cost | tuple[Cost, ...] | None = None
    tiles: str | tuple[str, ...] = ()
    costs: tuple[Cost, ...] = ()
    gains: tuple[Cost, ...] = ()
    phase: str = "search"

    @pydantic.model_validator(mode="after")
    def _one_each(self) -> Trial:
        """A last comparison has figures of every finalist, a search those of one candidate."""
        if self.phase == "final":
            counts = {len(self.us)} if isinstance(self.us, tuple) else {len(self.costs), len(self.gains)}
            if not isinstance(self.tiles, tuple) or counts != {len(self.tiles)} or not self.tiles:
                raise ValueError("not one figure for each finalist")
        elif isinstance(self.us, tuple):
            raise ValueError("figures of several candidates")
        return self


class TrialLog:
    """The log in `path`, read when it is opened; use it through `open_log`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials = self._read()

    def find(self, **fields: Any) -> dict[str, Any] | None:
        """The last trial whose fields have these values."""
        matching = (t for t in reversed(self.trials) if all(t.get(k) == v for k, v in fields.items()))
        return next(matching, None)

    def add(self, trial: dict[str, Any]) -> dict[str, Any]:
        """Append a trial and wait until it is on the disk; returns it as a later run reads it.

        Raises:
            OutputError: the disk is full or read-only.
        """
        line = encode(trial)
        try:
            with self.path.open("ab") as f:
                f.write(line)
                f.flush()
                os.fsync(f.fileno())
        except OSError as e:
            raise OutputError(f"cannot write: {e.strerror or e}", where=str(self.path), hint="set LAMPQ_CACHE") from e
        self.trials.append(json.loads(line)["trial"])
        return self.trials[-1]

    def _read(self) -> list[dict[str, Any]]:
        data = b""
        if os.path.lexists(self.path):
            hint = "delete it; its trials are measured again"
            data = read_bytes(self.path, "the trial log", MAX_BYTES, unreadable=CorruptError, broken=CorruptError, hint=hint)
        lines = data.split(b"\n")
        torn = lines.pop()  # empty where the last line is whole
        found = [(line, decode(line)) for line in lines]
        bad = [line for line, trial in found if trial is None]
        if bad:
            aside = self.path.with_suffix(".damaged")
            write_atomic(aside, (aside.read_bytes() if aside.exists() else b"") + b"\n".join([*bad, b""]))
            note(f"warning: {self.path}: {len(bad)} damaged lines moved to {aside.name}; they are measured again")
        if bad or torn:
            write_atomic(self.path, b"".join(line + b"\n" for line, trial in found if trial is not None))
        return [trial for _, trial in found if trial is not None]


def encode(trial: dict[str, Any]) -> bytes:
    """The line of a trial."""
    body = json.dumps(trial, sort_keys=True)
    return json.dumps({"crc": zlib.crc32(body.encode()), "trial": trial}, sort_keys=True).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any] | None:
    """The trial of a line, None where the line is damaged.

    >>> decode(encode({"tiles": "6x4"})[:-1])
    {'tiles': '6x4'}
    >>> decode(encode({"tiles": "6x4"})[:-1].replace(b"6x4", b"6x2")) is None
    True
    """
    try:
        outer = loads_json(line)
        trial: dict[str, Any] = outer["trial"]
        Trial.model_validate(trial)
        return trial if zlib.crc32(json.dumps(trial, sort_keys=True).encode()) == outer["crc"] else None
    except (ValueError, KeyError, TypeError):
        return None


@contextmanager
def open_log(path: Path) -> Iterator[TrialLog]:
    """The log for one thread of one process at a time; a second one waits, and says so.

    Raises:
        OutputError: its folder cannot be made.
    """
    try:
        with locked(path.with_suffix(".lock"), f"tuning {path.stem}"):
            yield TrialLog(path)
    except OSError as e:
        raise OutputError(f"cannot write: {e.strerror or e}", where=str(path), hint="set LAMPQ_CACHE") from e
