"""Where sessions lie: a folder of the server's own, locked while it lives; the next server deletes what a killed one left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lampq_tvm.store import cache_dir


class SessionFolders:
    """Folders of one server's sessions, below the cache, or the system's temporary folder where the cache cannot be written."""

    def __init__(self) -> None:
        self._own: Path | None = None
        self._owner: int | None = None

    @property
    def descriptors(self) -> list[int]:
        """The lock's file descriptor, which no other process should hold."""
        return [] if self._owner is None else [self._owner]

    def make(self) -> Path:
        """A new, empty folder.

        Raises:
            OSError: none can be made now.
        """
        if self._own is None or not self._own.is_dir():  # the cache may have been deleted meanwhile
            self.close()
            self.claim()
        return Path(tempfile.mkdtemp(prefix="lampq-session-", dir=self._own))

    def close(self) -> None:
        """Delete everything."""
        if self._own is not None:
            delete(self._own)
        if self._owner is not None:
            os.close(self._owner)
        self._own = self._owner = None

    def claim(self) -> None:
        """Take a folder, and delete those of servers that are gone.

        Raises:
            OSError: no place can be written.
        """
        try:
            self._claim(_in_cache())
        except OSError:
            self._claim(_in_temp())

    def _claim(self, place: Path) -> None:
        alone = _lock(place, wait=True)  # nobody sweeps what is not locked yet
        try:
            sweep(place)
            own = Path(tempfile.mkdtemp(prefix="server-", dir=place))
            self._owner = _lock(own)
            self._own = own
        finally:
            os.close(alone)


def delete(folder: Path) -> None:
    """Delete a folder as far as that can be, however deep its owner nested it."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        with contextlib.suppress(OSError):
            subprocess.run(["rm", "-rf", "--", str(folder)], stderr=subprocess.DEVNULL, check=False)


def sweep(place: Path) -> None:
    """Delete the folders of servers that are gone."""
    for folder in place.glob("server-*"):
        with contextlib.suppress(OSError):  # locked: its server lives
            owner = _lock(folder)
            delete(folder)
            os.close(owner)


def _lock(folder: Path, *, wait: bool = False) -> int:
    owner = os.open(folder / ".owner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(owner)
        raise
    return owner


def _in_cache() -> Path:
    place = cache_dir().absolute() / "device-sessions"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


def _in_temp() -> Path:
    place = Path(tempfile.gettempdir()) / f"lampq-device-{os.geteuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    found = place.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022 or place.is_symlink():
        raise PermissionError(f"{place} is another user's")
    return place
