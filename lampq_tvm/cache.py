"""Finished stages by content: the same question is never worked out twice, and a changed one never gets an old answer."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lampq_tvm.errors import LampqError
from lampq_tvm.locks import locked
from lampq_tvm.progress import note
from lampq_tvm.resources import PACKAGE
from lampq_tvm.store import SCHEMA, Units, digest

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
_held = threading.local()  # .stages: ranks of the stages whose locks a thread holds, each smaller than the one before


class Saved(Protocol):
    """A result that one file holds."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it."""

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""


S = TypeVar("S", bound=Saved)

# What each stage's result depends on besides its inputs: parts of this package, and installed packages. A stage's key holds
# that of calibration, so what only the stages before it run need not be named again.
CALIBRATE = ("registry.py", "recipes", "rewrites", "calibrate")
SOURCES = {
    "import": ("frontend", "network"),
    "calibrate": ("frontend", "network", "quantizers", *CALIBRATE, "data", "arrays", "plan.py"),
    "sensitivity": ("frontend", "network", "quantizers", *CALIBRATE, "sensitivity", "data", "arrays", "plan.py"),
    "latency": (
        "network", "quantizers", *CALIBRATE, "quantize", "plan.py", "kernels", "lower", "tune", "records", "artifact",
        "compiler", "runtime", "latency", "device", "ptx", "oracle", "targets", "levels",
    ),
    "plan": (
        "frontend", "network", "quantizers", *CALIBRATE, "quantize", "sensitivity", "allocate", "latency", "data", "arrays",
        "plan.py",
    ),
    "quantize": ("frontend", "network", "quantizers", *CALIBRATE, "quantize", "plan.py"),
    "build": (
        "frontend", "network", "quantizers", *CALIBRATE, "quantize", "plan.py", "kernels", "lower", "tune", "records",
        "artifact", "compiler", "runtime", "device", "ptx", "oracle", "targets", "levels",
    ),
}  # fmt: skip
IMAGES = ("torch", "numpy", "pillow")
COMPILERS = (
    "apache-tvm", "apache-tvm-ffi", "ziglang", "nvidia-cuda-nvrtc-cu11", "nvidia-cuda-nvrtc-cu12", "nvidia-cuda-nvrtc",
)  # fmt: skip
LIBRARIES = {
    "import": ("torch", "numpy", "timm", "onnx", "safetensors"),
    "calibrate": IMAGES,
    "sensitivity": IMAGES,
    "latency": (*COMPILERS, "torch", "numpy"),
    "plan": IMAGES,
    "quantize": ("torch", "numpy"),
    "build": (*COMPILERS, "numpy", "safetensors"),
}


@functools.cache
def source_digest(parts: tuple[str, ...]) -> str:
    """Hex sha256 over the package's own files that a stage runs, so that changed code never meets old results."""
    h = hashlib.sha256()
    for part in parts:
        path = PACKAGE / part
        inside = (file for file in path.rglob("*") if file.suffix in (".py", ".c", ".h"))
        for file in sorted(inside) if path.is_dir() else [path]:
            h.update(f"{file.relative_to(PACKAGE)}\0".encode() + file.read_bytes())
    return h.hexdigest()


@functools.cache
def library_version(name: str) -> str:
    """Version of an installed package, empty where it is missing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


class Cache:
    """Folders of finished and half-finished stages below `root`, for any number of threads and processes.

    A finished result is read without a lock. A stage is worked out under its lock, one thread of one process at a time,
    and only stages before it in the road (the order of `SOURCES`) are worked out meanwhile, so that no two wait for each other.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def folder(self, stage: str, *key: Any) -> Path:
        """The folder of a stage's result for these inputs."""
        libraries = [library_version(name) for name in LIBRARIES[stage]]
        name = digest(stage, SCHEMA, library_version("lampq-tvm"), source_digest(SOURCES[stage]), libraries, *key)
        return self.root / "stages" / stage / name[:32]

    def get(
        self,
        folder: Path,
        file: str,
        load: Callable[[Path], T],
        compute: Callable[[], T],
        save: Callable[[Path, T], None],
        units_in: Path | None = None,
    ) -> T:
        """The result in `folder` as it is read from there; computed and saved first where it is not finished.

        Whoever made it takes it from its file as well, so that a fresh result and a kept one never differ in anything.

        Args:
            folder: of the stage.
            file: the file whose presence says that the result is finished; written last.
            load: reads the result from the folder.
            compute: makes it; half-finished units of work may lie in `folder / "units"`.
            save: writes it into the folder.
            units_in: the folder of the same stage whose units it uses instead, and whose lock it takes.
        """
        found = _finished(folder, file, load)
        if found is None:
            with _alone(units_in or folder):
                found = _finished(folder, file, load)
                if found is None:
                    made = compute()
                    save(folder, made)
                    Units(folder / "units").clear()
                    found = _finished(folder, file, load)
                    found = made if found is None else found  # removed at once
        return found

    def file(self, folder: Path, file: str, kind: type[S], compute: Callable[[], S]) -> S:
        """The same of a result that is one file, which it writes and reads itself."""
        return self.get(folder, file, lambda f: kind.load(f / file), compute, lambda f, result: result.save(f / file))


def lock_path(folder: Path) -> Path:
    """The lock of a stage's folder: whoever removes the folder holds it."""
    return folder.parents[2] / "locks" / f"{folder.parent.name}-{folder.name}.lock"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a stage's folder.

    Raises:
        AssertionError: the thread holds the lock of a stage that is not behind this one.
    """
    road, held = list(SOURCES), _held.__dict__.setdefault("stages", [])
    rank = road.index(folder.parent.name)
    if held and held[-1] <= rank:
        raise AssertionError(f"{folder.parent.name} is asked for while {road[held[-1]]} is worked out")
    with locked(lock_path(folder), folder.parent.name):
        held.append(rank)
        try:
            yield
        finally:
            held.pop()


def _finished(folder: Path, file: str, load: Callable[[Path], T]) -> T | None:
    """A finished result; None where there is none, or a damaged one, which is replaced."""
    if not (folder / file).exists():
        return None
    try:
        found = load(folder)
    except LampqError as e:
        if (folder / file).exists():  # else it was removed meanwhile
            note(f"{folder / file}: {e.what}; it is made again")
        return None
    with contextlib.suppress(OSError):
        os.utime(folder / file)  # when it was last used, see `lampq cache`
    return found
