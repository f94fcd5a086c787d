"""Where sessions lie: in the server's scratch space, so that what a killed server left goes when the next one starts."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lampq_tvm.errors import OutputError
from lampq_tvm.scratch import scratch_dir


def place() -> Path:
    """Scratch space in the cache, or in the system's temporary folder where the cache cannot be written, as on some boards.

    Raises:
        OSError, OutputError: neither can be had now.
    """
    try:
        return scratch_dir()
    except OutputError:
        return scratch_dir(_in_temp())


def make() -> Path:
    """A new, empty folder for a session.

    Raises:
        OSError, OutputError: none can be made now.
    """
    return Path(tempfile.mkdtemp(prefix="lampq-session-", dir=place()))


def delete(folder: Path) -> None:
    """Delete a folder as far as that can be, however deep its owner nested it."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        with contextlib.suppress(OSError):
            subprocess.run(["rm", "-rf", "--", str(folder)], stderr=subprocess.DEVNULL, check=False)


def _in_temp() -> Path:
    """A folder of this user's own, where nobody else can have put anything."""
    found = Path(tempfile.gettempdir()) / f"lampq-device-{os.geteuid()}"
    found.mkdir(mode=0o700, exist_ok=True)
    state = found.lstat()
    if state.st_uid != os.geteuid() or state.st_mode & 0o022 or found.is_symlink():
        raise PermissionError(f"{found} is another user's")
    return found
