"""Images of an `.npz`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lampq_tvm.arrays import read_npz
from lampq_tvm.data.dataset import Dataset
from lampq_tvm.data.formats import FORMAT_HINT
from lampq_tvm.data.image import pillow
from lampq_tvm.data.prepare import scaled_size
from lampq_tvm.errors import UsageError, printable
from lampq_tvm.network.model import InputSpec
from lampq_tvm.progress import note


def open_npz(path: Path, spec: InputSpec) -> Dataset:
    """An `.npz` with `images` and perhaps `labels`; no pickle is ever loaded.

    Raises:
        UsageError: it is broken, or an array is not what it must be.
    """
    arrays, others = read_npz(path, ("images", "labels"))
    if "images" not in arrays:
        raise UsageError("holds no array 'images'", where=str(path), hint=FORMAT_HINT)
    images = arrays["images"]
    channels = (1, 3) if spec.channels in (1, 3) else (spec.channels,)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in channels):
        hint = f"they must be uint8 [N,H,W] or [N,H,W,C] with {' or '.join(map(str, channels))} channels"
        raise UsageError(f"images are {images.dtype} {list(images.shape)}", where=str(path), hint=hint)
    labels = _labels(path, arrays["labels"], len(images)) if "labels" in arrays else None
    if images.ndim == 3 and 1 not in channels:
        raise UsageError(f"images have one channel, the model takes {spec.channels}", where=str(path))
    if not images.size:
        raise UsageError("no images", where=str(path), hint=FORMAT_HINT)
    if images.shape[1:3] != (spec.height, spec.width):
        scaled_size(images.shape[1], images.shape[2], spec, str(path))
        pillow()
    kinds = "no labels" if labels is None else f"labels {labels.min()}..{labels.max()} ({len(np.unique(labels))} classes)"
    rest = f"; left out: {', '.join(map(printable, others[:5]))}" if others else ""
    note(f"{printable(str(path))}: {len(images)} images, {kinds}{rest}")
    return Dataset(path, spec, labels, images=images)


def _labels(path: Path, labels: np.ndarray, count: int) -> np.ndarray:
    """Labels [N] as int64."""
    fits = labels.dtype.kind in "iu" and labels.shape == (count,) and bool((labels <= np.iinfo(np.int64).max).all())
    if not fits:
        what = f"labels are {labels.dtype} {list(labels.shape)} for {count} images"
        raise UsageError(what, where=str(path), hint="they must be integers [N]")
    return labels.astype(np.int64)
