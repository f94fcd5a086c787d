"""Notes in the cache that say where what an artifact was made from lies: its float model, and its calibration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from lampq_tvm.errors import CorruptError
from lampq_tvm.store import cache_dir, write_atomic

Note = Literal["float-models", "calibrations"]
FOLDER = re.compile("[a-z]{1,20}/[0-9a-f]{32}")


def keep_note(cache: Path, kind: Note, digest: str, folder: Path) -> None:
    """Note that what is called `digest` lies in `folder`, a stage's."""
    pointer, content = _pointer(cache, kind, digest), f"{folder.parent.name}/{folder.name}".encode()
    if not pointer.exists() or pointer.read_bytes() != content:
        write_atomic(pointer, content)


def noted_folder(kind: Note, digest: str | None) -> Path | None:
    """The folder that a note in the user's cache names; None where there is no note.

    Raises:
        CorruptError: it is damaged.
    """
    pointer = None if digest is None else _pointer(cache_dir(), kind, digest)
    if pointer is None or not pointer.is_file():
        return None
    try:
        name = pointer.read_bytes().decode("ascii")
    except (OSError, ValueError) as e:
        raise CorruptError(str(e), where=pointer.name) from e
    if FOLDER.fullmatch(name) is None:
        raise CorruptError("not the name of a folder", where=pointer.name)
    return cache_dir() / "stages" / name


def _pointer(cache: Path, kind: Note, digest: str) -> Path:
    return cache / kind / digest[:32]
