"""How many different images and patches calibration saw: what is seen again tells nothing new."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ENOUGH = 128  # images, from which on their number does not matter
Hashes = npt.NDArray[np.uint64]


def image_hashes(images: npt.NDArray[np.uint8], patch: int) -> tuple[Hashes, Hashes]:
    """Hashes of the different images, and of the different patches of the first `ENOUGH` of them; both sorted.

    Args:
        images: [B, C, H, W].
        patch: its side.
    """
    b, c, h, w = images.shape
    cut = images[:, :, : h // patch * patch, : w // patch * patch]
    cut = cut.reshape(b, c, h // patch, patch, w // patch, patch).transpose(0, 2, 4, 1, 3, 5)
    patches = _hash(cut.reshape(b, -1, c * patch * patch))
    return np.unique(_hash(patches)), np.unique(patches[:ENOUGH])


def merge(old: Hashes | None, new: Hashes, most: int) -> Hashes:
    """The `most` lowest of both."""
    return (new if old is None else np.union1d(old, new))[:most]


def _hash(values: npt.NDArray[np.unsignedinteger]) -> Hashes:
    """[..., K] to [...]: a sum by random odd factors, then the last steps of splitmix64."""
    factors = np.random.default_rng(0).integers(0, 1 << 63, values.shape[-1], np.uint64) * np.uint64(2) + np.uint64(1)
    z: Hashes = (values.astype(np.uint64) + np.uint64(1)) @ factors
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return z ^ (z >> np.uint64(31))
