"""Locks between threads and processes that share a folder; whoever comes second waits, and soon says so in a line.

A lock goes with its holder, however that ends. It saves work and nothing else: every file is written whole under a name of its
own, so that on a file system without locks commands that run at once do some work twice, and nothing worse.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lampq_tvm.errors import OutputError
from lampq_tvm.progress import note

POLL_S = 0.05
SILENT_S = 0.5  # a shorter wait is not worth a line
SAME_WORK = "waiting for another lampq, which is at the same work ({what}); what it finishes is taken over"
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def locked(path: Path, what: str, line: str = SAME_WORK) -> Iterator[bool]:
    """Hold the lock file `path`, which stays where it is; the thread that holds it must not ask for it again.

    Yields whether the lock is held: False on a file system without locks.

    Args:
        path: its folder is made where it is missing.
        what: the work that is done under it, for the line of whoever waits.
        line: that line, with `{what}` in it.

    Raises:
        OutputError: the lock file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path) if _locks_work(path.parent) else None
        if lock is not None:
            _acquire(lock, line.format(what=what))
    except OSError as e:
        hint = "name another folder in LAMPQ_CACHE"
        raise OutputError(f"cannot write: {e.strerror or e}", where=str(path), hint=hint) from e
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


def _acquire(lock: FileLock, line: str) -> None:
    try:
        lock.acquire(timeout=SILENT_S, poll_interval=POLL_S)
    except Timeout:
        note(line)
        lock.acquire(poll_interval=POLL_S)


@functools.cache
def _locks_work(folder: Path) -> bool:
    """Whether the file system of a folder knows locks; one line where it does not."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=".lock-")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        if e.errno not in NO_LOCKS:
            raise
        note(f"{folder}: its file system has no locks, so commands that run at once may do the same work twice")
        return False
    finally:
        os.close(handle)
        os.unlink(name)
    return True
