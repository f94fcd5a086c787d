"""A device's key: 128 bits or more, held in the environment or in a file that only its owner can read, and nowhere else."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from pathlib import Path

from lampq_tvm.errors import OutputError, UsageError
from lampq_tvm.locks import locked
from lampq_tvm.store import cache_dir

KEY = "LAMPQ_DEVICE_KEY"
KEY_FILE = "LAMPQ_DEVICE_KEY_FILE"
BYTES = 16
SHORTEST = 22  # characters that hold 128 bits in base64
LONGEST = 512


def client_key() -> str | None:
    """The key a client was given: `$LAMPQ_DEVICE_KEY`, else of the file `$LAMPQ_DEVICE_KEY_FILE`, else None.

    Raises:
        UsageError: it is too short, or its file cannot be read or could be read by others.
    """
    if os.environ.get(KEY):
        return check_key(os.environ[KEY], f"${KEY}")
    return read_key(Path(os.environ[KEY_FILE])) if os.environ.get(KEY_FILE) else None


def choose_file(path: Path) -> None:
    """Let this process's clients, and those of the processes it starts, take the key of a file.

    Raises:
        UsageError: it holds no key, or others can read it.
    """
    read_key(path)
    os.environ[KEY_FILE] = str(path.absolute())
    os.environ.pop(KEY, None)


def server_key(path: Path | None = None) -> tuple[str, Path | None]:
    """A server's key and the file that holds it: found as a client finds it, else made.

    The file is made where it is missing: `device.key` in the cache if none is named. A key of the environment is taken out of
    it, so that nothing which the server starts inherits it.

    Raises:
        UsageError: as for clients.
        OutputError: its file cannot be made.
    """
    if path is None and os.environ.get(KEY):
        return check_key(os.environ.pop(KEY), f"${KEY}"), None
    path = (path or Path(os.environ.get(KEY_FILE) or cache_dir() / "device.key")).absolute()
    if not os.path.lexists(path):
        write_key(path, secrets.token_hex(BYTES), keep=True)
    return read_key(path), path


def write_key(path: Path, key: str, *, keep: bool = False) -> None:
    """Write a key's file whole, for its owner alone.

    Args:
        keep: leave a file that is already there, such as that of a server which starts at the same time.

    Raises:
        OutputError: it cannot be written.
    """
    temp = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temp = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")  # of mode 0600 from the start
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(key + "\n")
            file.flush()
            os.fsync(file.fileno())
        with locked(path.with_name(f".{path.name}.lock"), f"writing {path.name}"):
            if not (keep and os.path.lexists(path)):
                os.replace(temp, path)
    except OSError as e:
        hint = f"name another place with --key-file, or give the key in ${KEY}"
        raise OutputError(f"the key cannot be kept ({e.strerror or e})", where=str(path), hint=hint) from e
    finally:
        if temp is not None and os.path.lexists(temp):
            os.unlink(temp)


def read_key(path: Path) -> str:
    """The key of a file.

    Raises:
        UsageError: it cannot be read, is another user's, is open to others, or holds no key.
    """
    where = str(path)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            _check_owner(os.fstat(file.fileno()), where)
            text = file.read(LONGEST + 2)
    except OSError as e:
        hint = "copy the file that the server names: scp -p"
        raise UsageError(f"the key file cannot be read ({e.strerror or e})", where=where, hint=hint) from e
    return check_key(text.decode("latin-1").strip(), where)


def _check_owner(found: os.stat_result, where: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UsageError("not a key file", where=where, hint="copy the one that the server names: scp -p")
    if found.st_uid != os.geteuid():
        raise UsageError("this key file belongs to another user", where=where, hint="make a copy of your own, of mode 0600")
    if found.st_mode & 0o077:
        what = f"others may read this key file (mode {stat.S_IMODE(found.st_mode):04o})"
        raise UsageError(what, where=where, hint="delete it on the device, where a new one is made, and copy that with scp -p")


def check_key(key: str, where: str) -> str:
    """The key itself.

    Raises:
        UsageError: it could be guessed, or TVM's handshake cannot carry it.
    """
    hint = "openssl rand -hex 16 makes one; the server makes its own where none is given"
    if len(key) < SHORTEST:
        what = f"this key has {len(key)} characters, fewer than {SHORTEST}, which 128 bits need"
        raise UsageError(what, where=where, hint=hint)
    if len(key) > LONGEST or not all("!" <= c <= "~" for c in key):
        raise UsageError(f"a key is up to {LONGEST} printable ASCII characters without spaces", where=where, hint=hint)
    return key
