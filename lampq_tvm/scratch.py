"""Temporary space: it lies in the cache, is claimed before the work and goes with its owner.

Every process has one folder in `scratch` in the cache and holds a lock on a file there; a folder whose owner was killed is
removed when the next process claims one.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lampq_tvm.errors import OutputError, full_disk
from lampq_tvm.locks import locked
from lampq_tvm.store import cache_dir

ROOM_BYTES = 16 << 20  # what linking a network takes, several times
OWNER = "owner"
HINT = "free some space, or name another folder in LAMPQ_CACHE"

_claims: dict[Path, Path] = {}  # this process's folder in each scratch folder
_guard = threading.RLock()
_working = 0  # verbs at work
_before: tuple[str | None, str | None] = (None, None)  # $TMPDIR and `tempfile.tempdir` outside of them


def scratch(purpose: str) -> tempfile.TemporaryDirectory[str]:
    """A new folder in the scratch space, which is removed with the object, or at the end of its `with` block.

    Raises:
        OutputError: the cache cannot be written.
    """
    return tempfile.TemporaryDirectory(dir=scratch_dir(), prefix=f"{purpose}-", ignore_cleanup_errors=True)


def scratch_dir(root: Path | None = None) -> Path:
    """This process's scratch folder, claimed when it is first asked for; a forked child shares its parent's.

    Args:
        root: another place than `scratch` in the cache.

    Raises:
        OutputError: it cannot be written, or there are no 16 MiB left.
    """
    root = root or cache_dir().absolute() / "scratch"
    with _guard:
        if not (root in _claims and _claims[root].is_dir()):
            _claims[root] = _claim(root)
        return _claims[root]


def _claim(root: Path) -> Path:
    try:
        # Nobody may take a folder for left behind before it is locked; without locks nothing is known of any.
        with locked(root / ".lock", "claiming scratch space") as alone:
            if alone:
                remove_left(root)
            folder = Path(tempfile.mkdtemp(dir=root, prefix=f"{os.getpid()}-"))
            handle = os.open(folder / OWNER, os.O_RDWR | os.O_CREAT)  # held until this process and its forks are gone
            if alone:
                fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as e:
        raise OutputError(f"cannot write: {e.strerror or e}", where=str(root), hint=HINT) from e
    try:
        check_room(folder, ROOM_BYTES)
    except OutputError:  # a server asks again for every client
        os.close(handle)
        shutil.rmtree(folder, ignore_errors=True)
        raise
    atexit.register(_release, folder, os.getpid())
    return folder


def remove_left(root: Path) -> int:
    """Remove the folders of processes that are gone from a scratch folder whose lock is held; how many there were."""
    removed = 0
    for folder in root.iterdir():
        try:
            with (folder / OWNER).open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (FileNotFoundError, NotADirectoryError):  # killed before it was locked; the lock itself is no folder
            if not folder.is_dir():
                continue
        except OSError:  # in use, or another user's
            continue
        shutil.rmtree(folder, ignore_errors=True)
        removed += 1
    return removed


def others_since() -> float:
    """When the oldest other process that is at work began, in seconds since 1970; infinity where none is."""
    root, since = cache_dir().absolute() / "scratch", float("inf")
    for owner in root.glob(f"*/{OWNER}"):
        if owner.parent == _claims.get(root):
            continue
        try:
            with owner.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # held, or not to be known
            with contextlib.suppress(OSError):
                since = min(since, owner.stat().st_mtime)
    return since


def _release(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def check_room(folder: Path, size: int = ROOM_BYTES) -> None:
    """Make sure that so many bytes can be written in a folder; nothing is left behind.

    Raises:
        OutputError: they cannot.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as e:
        raise OutputError(f"no room for {size >> 20} MiB: {e.strerror or e}", where=str(folder), hint=HINT) from e


@contextmanager
def workspace() -> Iterator[None]:
    """Claim scratch space for a verb's work, and have everything in this process and its children write there.

    TVM, linkers, zig and torch write to `$TMPDIR`; it is set while verbs work and is what it was afterwards.

    Raises:
        OutputError: there is no space, now or later.
    """
    _enter(scratch_dir())
    try:
        yield
    except OSError as e:
        raise full_disk(e) or e from e
    finally:
        _leave()


def _enter(folder: Path) -> None:
    global _working, _before
    with _guard:
        if not _working:
            _before = os.environ.get("TMPDIR"), tempfile.tempdir
        _working += 1
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def _leave() -> None:
    global _working
    with _guard:
        _working -= 1
        if not _working:
            variable, tempfile.tempdir = _before
            os.environ.pop("TMPDIR", None)
            if variable is not None:
                os.environ["TMPDIR"] = variable
