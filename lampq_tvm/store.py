"""Files that survive a kill: atomic writes, the one-file form of every stage, and resumable units of work."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from lampq_tvm.errors import CorruptError, OutputError
from lampq_tvm.locks import locked
from lampq_tvm.progress import note

SCHEMA = 1
ATTEMPTS = 8  # at a folder that another process removes while a file is made in it


def cache_dir() -> Path:
    """Folder of everything that can be made again: `$LAMPQ_CACHE`, else the user's cache folder."""
    return Path(os.environ.get("LAMPQ_CACHE") or platformdirs.user_cache_dir("lampq-tvm"))


def digest(*parts: Any) -> str:
    """Hex sha256 over the parts: arrays by dtype, shape and bytes, bytes as they are, the rest as canonical JSON."""
    h = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            h.update(f"{part.dtype.str}{part.shape}".encode())
            h.update(np.ascontiguousarray(part).tobytes())
        elif isinstance(part, bytes):
            h.update(part)
        else:
            h.update(json.dumps(part, sort_keys=True, separators=(",", ":")).encode())
        h.update(b"\0")
    return h.hexdigest()


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file whole or not at all: temp file of its own name beside it, fsync, rename.

    Raises:
        OutputError: the folder is missing or read-only, or the disk is full.
    """
    path = Path(path)
    try:
        for _ in range(ATTEMPTS - 1):
            with contextlib.suppress(FileNotFoundError):
                return _write(path, data, mode)
        return _write(path, data, mode)
    except OSError as e:
        raise OutputError(f"cannot write: {e.strerror or e}", where=str(path), hint="choose another folder") from e


def _write(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temp = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.chmod(temp, mode)
        os.replace(temp, path)
    except BaseException:
        Path(temp).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save_stage(path: Path, kind: str, meta: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Write a stage's result: safetensors whose metadata holds `meta` as JSON and a digest over everything."""
    arrays = {k: np.asarray(v, order="C") for k, v in sorted(tensors.items())}
    text = json.dumps({"schema": SCHEMA, "kind": kind, "meta": dict(meta)}, sort_keys=True)
    check = digest(text, *(x for item in arrays.items() for x in item))
    # One entry only: safetensors writes several in an order of its own, and equal results should be equal bytes.
    write_atomic(path, save_tensors(arrays, {"lampq": json.dumps([check, text])}))


def load_stage(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what `save_stage` wrote.

    Raises:
        CorruptError: it is damaged, or of another kind or schema.
    """
    try:
        raw = Path(path).read_bytes()
        arrays = load_tensors(raw)
        size = int.from_bytes(raw[:8], "little")
        head = json.loads(raw[8 : 8 + size])["__metadata__"]
        check, text = json.loads(head["lampq"])
        if digest(text, *(x for item in sorted(arrays.items()) for x in item)) != check:
            raise CorruptError("its digest does not match its content", where=str(path), hint="delete it and run again")
        outer = json.loads(text)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as e:
        raise CorruptError(f"not a readable {kind} file ({e})", where=str(path), hint="delete it and run again") from e
    if outer["kind"] != kind or outer["schema"] != SCHEMA:
        found = f"{outer['kind']!r} of schema {outer['schema']}"
        raise CorruptError(f"holds {found}, not {kind!r} of schema {SCHEMA}", where=str(path))
    return outer["meta"], arrays


class Units:
    """Resumable work: a folder of finished units, each one file, so that a kill loses only the unit in flight.

    Any number of threads and processes may use a folder at once: a unit is read whole or worked out.

    Args:
        folder: belongs to one question, whose stage removes it when it is answered.
        shared: what the units are, for the line of whoever waits, where commands with other questions want the same ones: each
            is then worked out under a lock of its own. Of a stage's own units the stage has the lock.

    >>> import tempfile
    >>> units = Units(Path(tempfile.mkdtemp()))
    >>> units.get("layer0", lambda: {"loss": np.ones(2)})["loss"]
    array([1., 1.])
    >>> units.get("layer0", lambda: 1 / 0)["loss"]  # not computed again
    array([1., 1.])
    """

    def __init__(self, folder: Path, shared: str | None = None) -> None:
        self.folder, self.shared = Path(folder), shared

    def get(self, name: str, compute: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The arrays of unit `name`, by sorted names: read back when finished before, else computed and stored."""
        path = self.folder / f"{digest(name)[:24]}.unit"
        found = _read_unit(path)
        if found is not None or self.shared is None:
            return _make_unit(path, name, compute) if found is None else found
        with locked(path.with_suffix(".lock"), self.shared):
            found = _read_unit(path)
            return _make_unit(path, name, compute) if found is None else found

    def clear(self) -> None:
        """Remove every unit."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _read_unit(path: Path) -> dict[str, np.ndarray] | None:
    """A finished unit; None where there is none, or a damaged one, which is replaced."""
    if not path.exists():
        return None
    try:
        return dict(sorted(load_stage(path, "unit")[1].items()))
    except CorruptError as e:
        note(f"{path}: {e.what}; it is made again")
        return None


def _make_unit(path: Path, name: str, compute: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    arrays = {k: np.asarray(v, order="C") for k, v in sorted(compute().items())}
    save_stage(path, "unit", {"name": name}, arrays)
    return arrays
