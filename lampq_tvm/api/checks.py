"""Checks of files that are made before long work."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from lampq_tvm.arrays import read_npy
from lampq_tvm.errors import DeviceError, OutputError, UnsupportedError, UsageError
from lampq_tvm.frontend.model_files import check_file
from lampq_tvm.targets import Target, check_runs_here


def require_file(path: Path | str, what: str) -> Path:
    """The path of a file that must be there.

    Raises:
        UsageError: it is missing, a folder, or not readable.
    """
    check_file(Path(path), what)
    return Path(path)


def check_output(path: Path | str) -> Path:
    """Make sure that a file can be written there; nothing is left behind.

    Raises:
        OutputError: it cannot.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OutputError("is a folder or a device", where=str(path), hint="give a file's name")
    folder = path.absolute().parent
    while not folder.exists():  # a missing folder is made when the file is written
        folder = folder.parent
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{path.name}.", suffix=".tmp") as f:
            f.write(bytes(4096))
            f.flush()
            os.fsync(f.fileno())
    except OSError as e:
        raise OutputError(f"cannot write: {e.strerror or e}", where=str(path), hint="choose another folder") from e
    return path


def read_input(path: Path | str, shape: tuple[int, int, int]) -> np.ndarray:
    """Images of an `.npy` file: float32 [N, C, H, W], already normalized.

    Args:
        path: the file; no pickle is ever loaded.
        shape: (C, H, W) of the model.

    Raises:
        UsageError: the file is missing, broken, or of another type or shape.
    """
    require_file(path, "the input")
    expected = f"float32 [N,{','.join(map(str, shape))}]"
    images = read_npy(path)
    if images.dtype != np.float32 or images.ndim != 4 or images.shape[1:] != shape:
        what = f"holds {images.dtype} {list(images.shape)}"
        raise UsageError(what, where=str(path), hint=f"it must hold {expected}")
    if not len(images) or not all(np.isfinite(image).all() for image in images):
        raise UsageError("holds no images, or values that are not finite", where=str(path), hint=f"it must hold {expected}")
    return images


def runs_here(target: Target) -> bool:
    """Whether this machine can run code for the target."""
    try:
        if target.kind == "cuda":
            from lampq_tvm.device.cuda.driver import Driver

            driver = Driver()
            driver.close()
            return driver.arch == target.isa
        check_runs_here(target.kind, target.features)
    except (UnsupportedError, DeviceError):
        return False
    return True
