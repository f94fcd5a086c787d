"""The records of one level, all read at once: what a key was made of is what is used, whoever tunes meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from lampq_tvm.errors import CorruptError, LampqError, UnsupportedError
from lampq_tvm.files import S, parse_json, read_bytes
from lampq_tvm.progress import note
from lampq_tvm.resources import data_dir

WHAT = "the tuning record"


class HeldRecords:
    """Files of the records of a level (`dotprod`, `sm_90`) in some folders, those of the first folder first."""

    def __init__(self, folders: Sequence[Path], level: str) -> None:
        self._folders = [(folder / level, _read(folder / level)) for folder in folders]

    def digest(self) -> str:
        """Hex sha256 over all of them: changes when a build's result could."""
        h = hashlib.sha256()
        for _, files in self._folders:
            for name, raw in files.items():
                h.update(f"{name}\0".encode() + raw)
            h.update(b"\0")
        return h.hexdigest()

    def of(self, kernel: str) -> Iterator[tuple[Path, bytes]]:
        """(path, content) of each record of a kernel."""
        name = f"{kernel}.json"
        return ((folder / name, files[name]) for folder, files in self._folders if name in files)


def held_records(database: Path | None, level: str) -> HeldRecords:
    """The records of a level: the user's where there is a database, then the shipped ones."""
    return HeldRecords([*([] if database is None else [database]), data_dir("schedules")], level)


def _read(folder: Path) -> dict[str, bytes]:
    found = {path.name: read_held(path) for path in sorted(folder.glob("*.json"))}
    return {name: raw for name, raw in found.items() if raw is not None}


def read_held(path: Path) -> bytes | None:
    """The content of a record's file; None, with a warning, where it is no file or too large."""
    try:
        return read_bytes(path, WHAT, unreadable=CorruptError, broken=CorruptError)
    except CorruptError as e:
        _say_unused(e)
        return None


def parse_held(raw: bytes, path: Path, schema: type[S]) -> S | None:
    """The record of a file's content, of a CPU or a GPU; None, with a warning, where it is damaged or newer."""
    try:
        return parse_json(raw, schema, WHAT, str(path))
    except (CorruptError, UnsupportedError) as e:
        _say_unused(e)
        return None


def _say_unused(error: LampqError) -> None:
    note(f"warning: {error.where}: not a tuning record, not used ({error.what}); delete it and run lampq tune again")
