"""Folders of small images for the tests."""

import numpy as np
from PIL import Image

from lampq_tvm.network.model import InputSpec

GREY = InputSpec(1, 8, 8, (0.5,), (0.5,))
RGB = InputSpec(3, 8, 8, (0.5,) * 3, (0.5,) * 3, crop_pct=0.9)
RGBA = InputSpec(4, 8, 8, (0.5,) * 4, (0.5,) * 4)


def write(path, value=0, size=(8, 8)):
    """A grey PNG of one value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path, "PNG")
    return path


def class_folders(root, names, each=1):
    """A folder of class folders; the pixels of class folder i have the value i."""
    for value, name in enumerate(names):
        for i in range(each):
            write(root / name / f"{i}.png", value)
    return root


def first_pixels(data):
    """The first pixel of each image."""
    return np.concatenate([images[:, 0, 0, 0] for images, _ in data])
