"""Images of an `.npz`."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from lampq_tvm.data.dataset import Dataset
from lampq_tvm.data.formats import FORMAT_HINT
from lampq_tvm.data.image import pillow
from lampq_tvm.errors import UsageError
from lampq_tvm.frontend.model import InputSpec


def open_npz(path: Path, spec: InputSpec) -> Dataset:
    """An `.npz` with `images` and perhaps `labels`; no pickle is ever loaded."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if "images" not in archive.files:
                raise UsageError("holds no array 'images'", where=str(path), hint=FORMAT_HINT)
            images, labels = archive["images"], archive["labels"] if "labels" in archive.files else None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, KeyError, MemoryError) as e:
        raise UsageError(f"not a readable .npz ({str(e).splitlines()[0] if str(e) else 'truncated'})", where=str(path)) from e
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        what = f"images are {images.dtype} {list(images.shape)}"
        raise UsageError(what, where=str(path), hint="they must be uint8 [N,H,W] or [N,H,W,C] with 1 or 3 channels")
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]):
        what = f"labels are {labels.dtype} {list(labels.shape)} for {len(images)} images"
        raise UsageError(what, where=str(path), hint="they must be integers [N]")
    if not images.size:
        raise UsageError("no images", where=str(path), hint=FORMAT_HINT)
    if images.shape[1:3] != (spec.height, spec.width):
        pillow()
    return Dataset(path, spec, None if labels is None else labels.astype(np.int64), images=images)
