"""CIFAR-10 as a folder of JPEG files, `train/CLASS/*.jpg` and `test/CLASS/*.jpg`: none of its images is ours to ship."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def load_split(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 32, 32, 3] uint8 and labels [N] uint8 of `train` or `test`, classes in the order of their names."""
    files = [
        (path, label) for label, place in enumerate(sorted((folder / split).iterdir())) for path in sorted(place.iterdir())
    ]
    images = np.stack([np.asarray(Image.open(path).convert("RGB")) for path, _ in files])
    return images, np.array([label for _, label in files], np.uint8)
