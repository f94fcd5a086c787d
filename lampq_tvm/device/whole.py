"""What a prepared folder holds, so that a damaged one is seen before it is used, and made again."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

LIST = ".files.json"
HASHED_BYTES = 1 << 20  # files directly in the folder and no larger are compared by content, others by size


def write_list(folder: Path) -> None:
    """Note every file of a folder in it."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    (folder / LIST).write_text(json.dumps({str(path.relative_to(folder)): _state(folder, path) for path in files}), "utf-8")


def damage(folder: Path) -> str | None:
    """What is wrong with a prepared folder: a file that is missing or changed; None where it is whole, or has no list."""
    try:
        _check(folder, (folder / LIST).stat().st_mtime_ns)
    except FileNotFoundError as e:
        return None if e.filename == str(folder / LIST) else f"{e.filename} is missing"
    except (OSError, ValueError) as e:
        return str(e)
    return None


@functools.cache
def _check(folder: Path, _: int) -> None:
    """Compare a folder with its list, once in a process.

    Raises:
        ValueError: a file is changed, or the list is none.
        OSError: a file is missing.
    """
    listed = json.loads((folder / LIST).read_text("utf-8"))
    if not isinstance(listed, dict):
        raise ValueError(f"{folder / LIST} is damaged")
    for name, state in listed.items():
        if _state(folder, folder / name) != state:
            raise ValueError(f"{folder / name} is damaged")


def _state(folder: Path, path: Path) -> list[int | str]:
    size = path.stat().st_size
    hashed = path.parent == folder and size <= HASHED_BYTES
    return [size, hashlib.sha256(path.read_bytes()).hexdigest() if hashed else ""]
