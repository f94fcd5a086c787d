"""Finished stages by content: the same question is never worked out twice, and a changed one never gets an old answer."""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lampq_tvm.errors import CorruptError
from lampq_tvm.resources import PACKAGE
from lampq_tvm.store import SCHEMA, digest

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")


class Saved(Protocol):
    """A result that one file holds."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it."""

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""


S = TypeVar("S", bound=Saved)

# What each stage's result depends on besides its inputs: folders of this package, and installed packages.
SOURCES = {
    "import": ("frontend",),
    "calibrate": ("frontend", "calibrate", "quantize", "data"),
    "sensitivity": ("frontend", "calibrate", "quantize", "sensitivity", "data"),
    "latency": ("calibrate", "quantize", "kernels", "lower", "build", "runtime", "latency", "device", "ptx"),
    "plan": ("frontend", "calibrate", "quantize", "sensitivity", "allocate", "latency", "data"),
    "quantize": ("frontend", "calibrate", "quantize", "allocate"),
    "build": ("frontend", "calibrate", "quantize", "allocate", "kernels", "lower", "build", "runtime", "tune", "targets.py"),
}
LIBRARIES = {
    "import": ("torch", "timm", "onnx"),
    "latency": ("apache-tvm", "apache-tvm-ffi"),
    "build": ("apache-tvm", "apache-tvm-ffi"),
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
    """Folders of finished and half-finished stages below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def folder(self, stage: str, *key: Any) -> Path:
        """The folder of a stage's result for these inputs."""
        libraries = [library_version(name) for name in LIBRARIES.get(stage, ("torch", "numpy"))]
        name = digest(stage, SCHEMA, library_version("lampq-tvm"), source_digest(SOURCES[stage]), libraries, *key)
        return self.root / "stages" / stage / name[:32]

    def get(
        self, folder: Path, file: str, load: Callable[[Path], T], compute: Callable[[], T], save: Callable[[Path, T], None]
    ) -> T:
        """The result in `folder`: read back when finished before, else computed and saved.

        Args:
            folder: of the stage.
            file: the file whose presence says that the result is finished; written last.
            load: reads the result from the folder.
            compute: makes it; half-finished units of work may lie in `folder / "units"`.
            save: writes it into the folder.
        """
        if (folder / file).exists():
            try:
                return load(folder)
            except CorruptError:
                (folder / file).unlink(missing_ok=True)
        result = compute()
        save(folder, result)
        shutil.rmtree(folder / "units", ignore_errors=True)
        return result

    def file(self, folder: Path, file: str, kind: type[S], compute: Callable[[], S]) -> S:
        """The same of a result that is one file, which it writes and reads itself."""
        return self.get(folder, file, lambda f: kind.load(f / file), compute, lambda f, result: result.save(f / file))
