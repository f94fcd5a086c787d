"""How many different images and patches calibration saw, and which are too few: what is seen again tells nothing new."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ENOUGH = 128  # images, from which on their number does not matter
FEWEST = 32  # different images; ranges of fewer rest on what the weights tell
CONTRAST = 32  # levels between an image set's darkest and brightest pixels
Hashes = npt.NDArray[np.uint64]


def poor_images(images: npt.NDArray[np.uint8]) -> list[str]:
    """What is odd about calibration images [N, C, H, W], all of them or `ENOUGH`; a line each."""
    found = []
    different = len(np.unique(images.reshape(len(images), -1), axis=0))
    if different < FEWEST:
        alike = "" if different == len(images) else f" among {len(images)}"
        what = f"calibration saw {different} different image{'s' * (different > 1)}{alike}"
        found.append(f"{what}; give {ENOUGH} or more (--calib-images N, with --data that holds as many)")
    if int(images.max()) - int(images.min()) < CONTRAST:
        what = f"the calibration images hold pixels of {images.min()}..{images.max()} alone"
        found.append(f"{what}; give images as the model will meet them")
    return found


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
