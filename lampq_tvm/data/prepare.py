"""Pixels of any size and number of channels to the image that a model takes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from lampq_tvm.data.image import MOST_PIXELS, check_size, pillow, read_pixels
from lampq_tvm.errors import UsageError
from lampq_tvm.network.model import InputSpec


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
    prepared: np.ndarray = prepare_array(read_pixels(file, spec.channels)[None], spec)[0]
    return prepared


def to_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Channels last: grey to RGB by repetition, RGB to grey by ITU-R 601-2 luma in 16-bit fixed point, as pillow does.

    Raises:
        UsageError: another number of channels than the model's, and not one of these two.
    """
    found = images.shape[-1]
    if found == channels:
        return images
    if (found, channels) == (1, 3):
        return np.repeat(images, 3, axis=-1)
    if (found, channels) == (3, 1):
        luma = images.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)
        grey: np.ndarray = ((luma + 0x8000) >> 16).astype(np.uint8)
        return grey[..., None]
    raise UsageError(f"images have {found} channels, the model takes {channels}", where="data")


def scaled_size(height: int, width: int, spec: InputSpec, where: str = "data") -> tuple[int, int]:
    """(height, width) to which timm's evaluation scales an image before it cuts out the centre.

    Raises:
        UsageError: the image is so long and thin, or so large, that scaling it would fill the memory.
    """
    goal_h, goal_w = math.floor(spec.height / spec.crop_pct), math.floor(spec.width / spec.crop_pct)
    ratio = max(goal_h / height, goal_w / width)
    new_h, new_w = max(goal_h, int(height * ratio + 1e-9)), max(goal_w, int(width * ratio + 1e-9))
    check_size(height, width, where)
    if new_h * new_w > MOST_PIXELS:
        what = f"an image of {width} x {height} pixels is too long to scale, it would have {new_w} x {new_h}"
        raise UsageError(what, where=where, hint="crop it, or leave it out")
    return new_h, new_w


def resize(image: np.ndarray, spec: InputSpec) -> np.ndarray:
    """[H, W, C] uint8 to the model's size as timm's evaluation does: shortest side to size / crop_pct, centre crop."""
    height, width, channels = image.shape
    new_h, new_w = scaled_size(height, width, spec)
    if channels in (1, 3, 4):  # four are RGBA: pillow weighs colours with alpha
        scaled = _scale(image[..., 0] if channels == 1 else image, new_h, new_w, spec).reshape(new_h, new_w, channels)
    else:
        scaled = np.stack([_scale(image[..., c], new_h, new_w, spec) for c in range(channels)], -1)
    top, left = round((new_h - spec.height) / 2), round((new_w - spec.width) / 2)
    return scaled[top : top + spec.height, left : left + spec.width]


def _scale(image: np.ndarray, height: int, width: int, spec: InputSpec) -> np.ndarray:
    """[H, W] or [H, W, C] uint8 at another size, by the model's interpolation."""
    pil = pillow()
    method = getattr(pil.Resampling, spec.interpolation.upper(), pil.Resampling.BICUBIC)
    return np.asarray(pil.fromarray(np.ascontiguousarray(image)).resize((width, height), method))
