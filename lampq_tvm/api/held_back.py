"""The images on which a promise about accuracy is judged: labelled ones that neither calibrated nor chose anything."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from lampq_tvm.data import Dataset
from lampq_tvm.progress import track


def held_back(pool: Dataset, used: Sequence[Dataset], count: int, seed: int) -> Dataset:
    """Up to `count` images of `pool`, drawn by `seed`, none of which occurs in `used` and none twice.

    Images are the same where their pixels at the model's size are: copies under another name count as one, for a copy of a
    calibration image would be judged too well, and the interval takes every image for one of its own.

    Raises:
        UsageError: an image cannot be read.
    """
    seen = {content for data in used for content in contents(data)}
    picked: list[int] = []
    order = np.random.default_rng(seed).permutation(len(pool))
    for index in track(order, "looking for images to hold back"):
        content = _content(pool, int(index))
        if content is not None and content not in seen:
            seen.add(content)
            picked.append(int(index))
        if len(picked) == count:
            break
    return pool.take(np.array(picked, np.int64))


def contents(data: Dataset) -> Iterator[bytes]:
    """What tells one image from another: a digest of its pixels at the model's size."""
    for pixels, _ in data.batches(1):
        yield hashlib.sha256(pixels.tobytes()).digest()


def _content(pool: Dataset, index: int) -> bytes | None:
    """An image's digest; None for a broken one where broken ones are left out."""
    if pool.is_broken(index):
        return None
    pixels, _ = next(pool.batches(1, index, index + 1))
    return hashlib.sha256(pixels.tobytes()).digest()
