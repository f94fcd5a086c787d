"""Images of one source, with their labels where it has some."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lampq_tvm.data.image import look, read_bytes
from lampq_tvm.data.prepare import prepare_array, prepare_file, scaled_size
from lampq_tvm.errors import UsageError, printable
from lampq_tvm.network.model import InputSpec
from lampq_tvm.progress import note, track

BATCH = 32  # images in flight
DECODE_ALL = 4096  # up to so many files are decoded once before long work; more are checked by their headers
SHOWN = 10  # broken files that are named; the rest is counted


@dataclass(frozen=True)
class Dataset:
    """Images, labelled or not.

    Attributes:
        path: where they come from.
        spec: the image that the model takes.
        labels: [N] int64; None where the source has none.
        images: [N, H, W] or [N, H, W, C] uint8, of an `.npz`; None for a folder.
        files: one path per image, of a folder.
        skip_broken: leave out broken files where images are drawn, instead of refusing them.
    """

    path: Path
    spec: InputSpec
    labels: np.ndarray | None = None
    images: np.ndarray | None = None
    files: tuple[Path, ...] = ()
    skip_broken: bool = False

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files if self.images is None else self.images)

    @property
    def has_labels(self) -> bool:
        """Whether each image has a label."""
        return self.labels is not None

    def take(self, indices: np.ndarray) -> Dataset:
        """The images of some indices [n], in that order."""
        images = None if self.images is None else self.images[indices]
        labels = None if self.labels is None else self.labels[indices]
        files = tuple(self.files[i] for i in indices) if self.files else ()
        return dataclasses.replace(self, labels=labels, images=images, files=files)

    def sample(self, count: int | None, seed: int = 0) -> Dataset:
        """`count` images drawn without repetition, the same for the same seed; all of them where count is None or larger.

        With `skip_broken` each is decoded, and the next ones take the places of those that are broken.

        Raises:
            UsageError: every image is broken.
        """
        everything = count is None or count >= len(self)
        order = np.arange(len(self)) if everything else np.random.default_rng(seed).permutation(len(self))
        if not (self.skip_broken and self.files):
            return self if everything else self.take(order[:count])
        sound: list[int] = []
        for index in track(order, "looking for broken images"):
            if self._fault(int(index)) is None:
                sound.append(int(index))
            if len(sound) == count:
                break
        if not sound:
            raise UsageError("every image is broken", where=str(self.path))
        return dataclasses.replace(self.take(np.array(sound)), skip_broken=False)

    def is_broken(self, index: int) -> bool:
        """Whether an image is to be left out as broken; it is said when it is found."""
        return self.skip_broken and bool(self.files) and self._fault(index) is not None

    @functools.cached_property
    def _faults(self) -> dict[int, str | None]:
        """What is wrong with the files that were looked at, by index."""
        return {}

    def _fault(self, index: int) -> str | None:
        """What is wrong with a file; it is said when it is found."""
        if index not in self._faults:
            self._faults[index] = None
            try:
                header = look(self.files[index], self.spec.channels, decode=True)
                scaled_size(header.height, header.width, self.spec, str(self.files[index]))
            except UsageError as e:
                self._faults[index] = str(e)
                count = sum(fault is not None for fault in self._faults.values())
                more = " (further ones are not named)" if count == SHOWN else ""
                if count <= SHOWN:
                    note(f"left out: {printable(str(self.files[index]))}: {e.what}{more}")
        return self._faults[index]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex sha256 of the labels, of the images' content and of the preprocessing."""
        spec = self.spec
        how = (spec.channels, spec.height, spec.width, spec.interpolation, spec.crop_pct)
        h = hashlib.sha256(repr(how).encode())
        h.update(b"no labels" if self.labels is None else self.labels.tobytes())
        if self.images is not None:
            h.update(repr(self.images.shape).encode())
            h.update(np.ascontiguousarray(self.images).data)
        for file in self.files:
            h.update(hashlib.sha256(read_bytes(file)).digest())
        return h.hexdigest()

    def batches(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Images [B, C, H, W] uint8 at the model's size and labels [B] int64 (None without), in order; the last may be smaller.

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
            yield images, None if self.labels is None else self.labels[low:high]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """All batches of `BATCH` images; a data set can be gone through again and again."""
        return self.batches(BATCH)

    def verify(self) -> None:
        """Read every image once, so that a broken one is found before long work, and say what models will not see of them.

        Raises:
            UsageError: an image is broken; it is named.
        """
        decode, ignored = len(self.files) <= DECODE_ALL, Counter[str]()
        for file in track(self.files, "checking images"):
            header = look(file, self.spec.channels, decode=decode)
            scaled_size(header.height, header.width, self.spec, str(file))
            ignored.update(header.ignored)
        for what, count in sorted(ignored.items()):
            note(f"{count} of {len(self.files)} images: {what}")
