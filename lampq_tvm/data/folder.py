"""Image files in a folder of class folders, or in a flat folder without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lampq_tvm.data.dataset import Dataset
from lampq_tvm.data.formats import FORMAT_HINT, SUFFIXES
from lampq_tvm.data.image import pillow
from lampq_tvm.errors import UsageError
from lampq_tvm.frontend.model import InputSpec


def open_folder(path: Path, spec: InputSpec) -> Dataset:
    """A folder of class folders, or a flat one whose images have no labels."""
    try:
        classes = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
        files: list[Path] = []
        labels: list[int] = []
        for label, folder in enumerate(classes):
            found = sorted(p for p in folder.rglob("*") if _is_image(p))
            files += found
            labels += [label] * len(found)
    except OSError as e:
        raise UsageError(f"cannot read the folder ({e.strerror})", where=str(path)) from e
    pillow()
    if files:
        return Dataset(path, spec, np.array(labels, np.int64), files=tuple(files))
    flat = sorted(p for p in path.iterdir() if _is_image(p))
    if not flat:
        raise UsageError("no images", where=str(path), hint=FORMAT_HINT)
    return Dataset(path, spec, files=tuple(flat))


def _is_image(path: Path) -> bool:
    """Whether a name is that of an image file."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
