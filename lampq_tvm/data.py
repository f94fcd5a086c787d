"""Labelled images from a folder of class folders or an `.npz`, at the model's input size, in bounded memory."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lampq_tvm.errors import UsageError
from lampq_tvm.frontend.model import InputSpec

SUFFIXES = (".png", ".jpg", ".jpeg")
BATCH = 32  # images in flight
DECODE_ALL = 4096  # up to so many files are decoded once before long work; more are checked by their headers
FORMAT_HINT = "give a folder of class folders with PNG or JPEG files, or an .npz with images and labels"


@dataclass(frozen=True)
class Dataset:
    """Images with labels.

    Attributes:
        path: where they come from.
        spec: the image that the model takes.
        labels: [N] int64.
        images: [N, H, W] or [N, H, W, C] uint8, of an `.npz`; None for a folder.
        files: one path per image, of a folder.
    """

    path: Path
    spec: InputSpec
    labels: np.ndarray
    images: np.ndarray | None = None
    files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def sample(self, count: int | None, seed: int = 0) -> Dataset:
        """`count` images drawn without repetition, the same for the same seed; all of them where count is None or larger."""
        if count is None or count >= len(self):
            return self
        pick = np.random.default_rng(seed).permutation(len(self))[:count]
        images = None if self.images is None else self.images[pick]
        files = tuple(self.files[i] for i in pick) if self.files else ()
        return dataclasses.replace(self, labels=self.labels[pick], images=images, files=files)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex sha256 of the labels, of the images' content and of the preprocessing."""
        spec = self.spec
        h = hashlib.sha256(repr((spec.channels, spec.height, spec.width, spec.interpolation, spec.crop_pct)).encode())
        h.update(self.labels.tobytes())
        if self.images is not None:
            h.update(repr(self.images.shape).encode())
            h.update(np.ascontiguousarray(self.images).data)
        for file in self.files:
            h.update(hashlib.sha256(_read(file)).digest())
        return h.hexdigest()

    def batches(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images [B, C, H, W] uint8 at the model's size and labels [B] int64, in order; the last batch may be smaller.

        Raises:
            UsageError: an image cannot be read; it is named.
        """
        stop = len(self) if stop is None else min(stop, len(self))
        for low in range(start, stop, size):
            high = min(low + size, stop)
            if self.images is not None:
                images = prepare_array(self.images[low:high], self.spec)
            else:
                images = np.stack([prepare_file(file, self.spec) for file in self.files[low:high]])
            yield images, self.labels[low:high]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All batches of `BATCH` images; a data set can be gone through again and again."""
        return self.batches(BATCH)

    def verify(self) -> None:
        """Read every image once, so that a broken one is found before long work.

        Raises:
            UsageError: an image is broken; it is named.
        """
        for file in self.files:
            _check_file(file, decode=len(self.files) <= DECODE_ALL)


def open_dataset(path: Path | str, spec: InputSpec, *, classes: int | None = None) -> Dataset:
    """Open images for a model.

    Args:
        path: a folder of class folders (classes are numbered by their sorted names), or an `.npz` with `images`
            uint8 [N, H, W] or [N, H, W, C] and `labels` [N].
        spec: the image that the model takes.
        classes: number of the model's classes; labels beyond them are refused. None leaves labels unchecked.

    Raises:
        UsageError: the path is missing or empty, a file is broken, or a label is out of range.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError("the data does not exist", where=str(path), hint=FORMAT_HINT)
    if path.is_dir():
        dataset = _open_folder(path, spec)
    elif path.suffix.lower() == ".npz":
        dataset = _open_npz(path, spec)
    else:
        raise UsageError("not a data set", where=str(path), hint=FORMAT_HINT)
    if classes is not None:
        check_labels(dataset, classes)
    return dataset


def check_labels(dataset: Dataset, classes: int) -> None:
    """Raise UsageError unless every label is one of the model's classes, 0 .. classes - 1."""
    bad = np.flatnonzero((dataset.labels < 0) | (dataset.labels >= classes))
    if len(bad):
        index = int(bad[0])
        where = str(dataset.files[index]) if dataset.files else f"{dataset.path}: image {index}"
        what = f"label {int(dataset.labels[index])} is out of range for a model with {classes} classes"
        raise UsageError(what, where=where, hint=f"labels must lie in 0..{classes - 1}")


def _open_folder(path: Path, spec: InputSpec) -> Dataset:
    """A folder of class folders."""
    try:
        classes = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
        files, labels = [], []
        for label, folder in enumerate(classes):
            found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
            files += found
            labels += [label] * len(found)
    except OSError as e:
        raise UsageError(f"cannot read the folder ({e.strerror})", where=str(path)) from e
    if not files:
        raise UsageError("no images in class folders", where=str(path), hint=FORMAT_HINT)
    _pillow()
    return Dataset(path, spec, np.array(labels, np.int64), files=tuple(files))


def _open_npz(path: Path, spec: InputSpec) -> Dataset:
    """An `.npz`; no pickle is ever loaded."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in ("images", "labels") if key not in archive.files]
            if missing:
                raise UsageError(f"holds no array {missing[0]!r}", where=str(path), hint=FORMAT_HINT)
            images, labels = archive["images"], archive["labels"]
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, KeyError, MemoryError) as e:
        raise UsageError(f"not a readable .npz ({str(e).splitlines()[0] if str(e) else 'truncated'})", where=str(path)) from e
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        what = f"images are {images.dtype} {list(images.shape)}"
        raise UsageError(what, where=str(path), hint="they must be uint8 [N,H,W] or [N,H,W,C] with 1 or 3 channels")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        what = f"labels are {labels.dtype} {list(labels.shape)} for {len(images)} images"
        raise UsageError(what, where=str(path), hint="they must be integers [N]")
    if not images.size:
        raise UsageError("no images", where=str(path), hint=FORMAT_HINT)
    if images.shape[1:3] != (spec.height, spec.width):
        _pillow()
    return Dataset(path, spec, labels.astype(np.int64), images=images)


def prepare_array(images: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Images [B, H, W] or [B, H, W, C] uint8 of one size to [B, C, H, W] at the model's."""
    images = images[..., None] if images.ndim == 3 else images
    images = to_channels(images, spec.channels)
    if images.shape[1:3] != (spec.height, spec.width):
        images = np.stack([resize(image, spec) for image in images])
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def prepare_file(file: Path, spec: InputSpec) -> np.ndarray:
    """One image file as [C, H, W] uint8 at the model's size.

    Raises:
        UsageError: the file is no readable image.
    """
    image = _open_image(file)
    grey = image.mode in ("1", "L", "LA", "I;16")
    pixels = np.asarray(image.convert("L" if grey else "RGB"))
    prepared: np.ndarray = prepare_array(pixels[None], spec)[0]
    return prepared


def to_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Channels last: grey to RGB by repetition, RGB to grey by ITU-R 601-2 luma in 16-bit fixed point, as pillow does."""
    if images.shape[-1] == channels:
        return images
    if images.shape[-1] == 1:
        return np.repeat(images, channels, axis=-1)
    if channels == 1:
        luma = images.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)
        grey: np.ndarray = ((luma + 0x8000) >> 16).astype(np.uint8)
        return grey[..., None]
    raise UsageError(f"images have {images.shape[-1]} channels, the model takes {channels}", where="data")


def resize(image: np.ndarray, spec: InputSpec) -> np.ndarray:
    """[H, W, C] uint8 to the model's size as timm's evaluation does: shortest side to size / crop_pct, centre crop."""
    pillow = _pillow()
    height, width = image.shape[:2]
    goal_h, goal_w = math.floor(spec.height / spec.crop_pct), math.floor(spec.width / spec.crop_pct)
    ratio = max(goal_h / height, goal_w / width)
    new_h = max(goal_h, int(height * ratio + 1e-9))
    new_w = max(goal_w, int(width * ratio + 1e-9))
    method = getattr(pillow.Resampling, spec.interpolation.upper(), pillow.Resampling.BICUBIC)
    source = pillow.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    scaled = np.asarray(source.resize((new_w, new_h), method)).reshape(new_h, new_w, image.shape[2])
    top, left = round((new_h - spec.height) / 2), round((new_w - spec.width) / 2)
    cropped: np.ndarray = scaled[top : top + spec.height, left : left + spec.width]
    return cropped


def _pillow() -> Any:
    """The module `PIL.Image`; the base install has none."""
    try:
        from PIL import Image
    except ImportError as e:
        what = "reading or resizing images needs pillow, which is not installed"
        raise UsageError(what, where="data", hint="pip install pillow, or give an .npz at the model's input size") from e
    return Image


def _read(file: Path) -> bytes:
    """Bytes of an image file, UsageError where it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as e:
        raise UsageError(f"cannot read the image ({e.strerror})", where=str(file)) from e


def _open_image(file: Path, draft: Sequence[int] | None = None) -> Any:
    """A decoded pillow image; `draft` lets JPEG decode at a fraction of its size."""
    pillow = _pillow()
    try:
        image = pillow.open(file)
        if draft is not None:
            image.draft("L", tuple(draft))
        image.load()
    except (OSError, ValueError, SyntaxError, EOFError, zlib.error, pillow.DecompressionBombError) as e:
        raise UsageError("a broken image", where=str(file), hint=f"remove or replace it ({str(e).splitlines()[0]})") from e
    return image


def _check_file(file: Path, decode: bool) -> None:
    """Raise UsageError for a broken image; without `decode` only its header is read."""
    if decode:
        _open_image(file, draft=(16, 16))
        return
    pillow = _pillow()
    try:
        with pillow.open(file):
            pass
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as e:
        raise UsageError("a broken image", where=str(file), hint="remove or replace it") from e
