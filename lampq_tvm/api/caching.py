"""`cache`: what lies in the cache, how much it may be, and what goes first."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lampq_tvm.api.option import taking
from lampq_tvm.api.requests import CacheRequest
from lampq_tvm.errors import UsageError
from lampq_tvm.locks import locked
from lampq_tvm.progress import note
from lampq_tvm.scratch import others_since, remove_left, workspace
from lampq_tvm.stage_cache import STAGES, lock_path
from lampq_tvm.store import cache_dir

LIMIT = "LAMPQ_CACHE_SIZE"
SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
AGES = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
# What else lies in the cache, by the beginning of its name. Only what a command makes again by itself is ever removed here;
# a file that this program does not know is nobody's to remove.
KINDS = {
    "board-": "board",
    "fashion-mnist": "data",
    "link-": "linker",
    "zig": "linker",
    "tracebacks": "tracebacks",
    "float-models": "float-models",
    "calibrations": "calibrations",
    "tuning": "tuning",
    "scratch": "scratch",
    "locks": "locks",
}
CLEARED = (*STAGES, "board", "data", "linker", "tracebacks", "float-models", "calibrations")


@dataclass(frozen=True)
class Entry:
    """One thing in the cache.

    Attributes:
        kind: a stage's name, or one of `KINDS`.
        used: when it was last made or read, in seconds since 1970.
    """

    kind: str
    path: Path
    bytes: int
    used: float


@taking(CacheRequest)
def cache(request: CacheRequest) -> dict[str, Any]:
    """What lies in the cache, after removing what is asked for.

    Nothing is removed that a command at work holds or has used. Tuning records, which take hours, are only ever shown.

    Returns:
        `folder`; `kinds`: rows of kind, number, bytes, newest_age_s and oldest_age_s; `bytes`; `removed`: number and bytes.

    Raises:
        UsageError: not a size or an age.
    """
    clear = request.clear
    size, age = parse_size(request.max_size), parse_age(request.older_than)
    root = cache_dir().absolute()
    entries = sorted(scan(root), key=lambda entry: entry.used)
    removed: list[Entry] = []
    if (clear or size is not None or age is not None) and (root / "scratch").is_dir():
        with locked(root / "scratch" / ".lock", "clearing scratch space") as alone:
            if alone:
                remove_left(root / "scratch")
    if clear:
        removed += remove([entry for entry in entries if entry.kind in CLEARED])
    if age is not None:
        old = [entry for entry in entries if entry.used < time.time() - age and entry not in removed]
        removed += remove([entry for entry in old if entry.kind in (*STAGES, "tracebacks")])
    if size is not None:
        excess = sum(entry.bytes for entry in entries) - sum(entry.bytes for entry in removed) - size
        removed += remove([entry for entry in entries if entry.kind in STAGES and entry not in removed], excess)
    left = [entry for entry in entries if entry not in removed]
    total = sum(entry.bytes for entry in left)
    if size is not None and total > size:
        note(f"{total} bytes are left: tuning records, emulated boards and what commands at work use do not go for size")
    gone = {"number": len(removed), "bytes": sum(entry.bytes for entry in removed)}
    return {"folder": str(root), "kinds": _rows(left), "bytes": total, "removed": gone}


@contextmanager
def at_work() -> Iterator[None]:
    """A verb's work: its temporary files lie in the cache, which is brought to the size that `$LAMPQ_CACHE_SIZE` says."""
    limit = os.environ.get(LIMIT) or None
    parse_size(limit, LIMIT)
    with workspace():
        yield
        if limit is not None:
            cache(max_size=limit)


def scan(root: Path) -> Iterator[Entry]:
    """Everything in the cache that this program knows."""
    for folder in _inside(root / "stages"):
        yield from (_entry(folder.name, path) for path in _inside(folder) if folder.name in STAGES)
    for path in _inside(root):
        kind = next((kind for start, kind in KINDS.items() if path.name.startswith(start)), None)
        if kind in ("tracebacks", "float-models", "calibrations"):
            yield from (_entry(kind, file) for file in _inside(path))
        elif kind is not None:
            yield _entry(kind, path)


def remove(entries: Iterable[Entry], excess: float = float("inf")) -> list[Entry]:
    """Remove entries, in order, until so many bytes are gone; those that went."""
    since, removed = others_since(), []
    for entry in entries:
        if excess <= 0:
            break
        if entry.used < since and _remove(entry, busy=since != float("inf")):
            removed.append(entry)
            excess -= entry.bytes
    return removed


def _remove(entry: Entry, busy: bool) -> bool:
    """Whether it could be removed; boards and linkers stay while any other command is at work."""
    if entry.kind in STAGES:
        lock = FileLock(lock_path(entry.path))
    elif entry.kind == "board":
        lock = FileLock(entry.path.with_name(f".{entry.path.name}.lock"))
    else:
        lock = None
    if busy and entry.kind in ("board", "data", "linker"):
        return False
    try:
        with contextlib.nullcontext() if lock is None else lock.acquire(timeout=0):
            _delete(entry.path)
    except (Timeout, OSError, NotImplementedError):  # at work, another user's, or on a file system without locks
        return False
    return not entry.path.exists()


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _entry(kind: str, path: Path) -> Entry:
    stats = []
    for file in [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]:
        with contextlib.suppress(OSError):  # removed meanwhile
            stats.append(file.lstat())
    return Entry(kind, path, sum(s.st_size for s in stats if not _is_folder(s)), max((s.st_mtime for s in stats), default=0.0))


def _is_folder(status: os.stat_result) -> bool:
    return status.st_mode & 0o170000 == 0o040000


def _rows(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    by_kind: dict[str, list[Entry]] = {}
    for entry in entries:
        by_kind.setdefault(entry.kind, []).append(entry)
    now, rows = time.time(), []
    for kind, found in by_kind.items():
        ages = [max(0, round(now - entry.used)) for entry in found]
        sizes = {"number": len(found), "bytes": sum(entry.bytes for entry in found)}
        rows.append({"kind": kind, **sizes, "newest_age_s": min(ages), "oldest_age_s": max(ages)})
    return sorted(rows, key=lambda row: (-row["bytes"], row["kind"]))


def parse_size(text: str | int | None, where: str = "--max-size") -> int | None:
    """Bytes of `5GiB`.

    Raises:
        UsageError: not a size.
    """
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,3})?) ?([KMGT]iB|B)?", str(text).strip())
    if text is not None and match is None:
        raise UsageError(f"{text} is not a size", where=where, hint="write 500MiB or 5GiB")
    return None if match is None else int(float(match[1]) * SIZES[match[2] or "B"])


def parse_age(text: str | float | None) -> float | None:
    """Seconds of `30d`.

    Raises:
        UsageError: not an age.
    """
    if text is None or isinstance(text, int | float):
        return text
    match = re.fullmatch(r"(\d{1,6}) ?([mhdw])", text.strip())
    if match is None:
        raise UsageError(f"{text} is not an age", where="--older-than", hint="write 12h, 30d or 8w")
    return float(match[1]) * AGES[match[2]]
