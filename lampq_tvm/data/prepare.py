"""Pixels of any size and number of channels to the image that a model takes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from lampq_tvm.data.image import open_image, pillow
from lampq_tvm.errors import UsageError
from lampq_tvm.frontend.model import InputSpec


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
    image = open_image(file)
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
    pil = pillow()
    height, width = image.shape[:2]
    goal_h, goal_w = math.floor(spec.height / spec.crop_pct), math.floor(spec.width / spec.crop_pct)
    ratio = max(goal_h / height, goal_w / width)
    new_h = max(goal_h, int(height * ratio + 1e-9))
    new_w = max(goal_w, int(width * ratio + 1e-9))
    method = getattr(pil.Resampling, spec.interpolation.upper(), pil.Resampling.BICUBIC)
    source = pil.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    scaled = np.asarray(source.resize((new_w, new_h), method)).reshape(new_h, new_w, image.shape[2])
    top, left = round((new_h - spec.height) / 2), round((new_w - spec.width) / 2)
    cropped: np.ndarray = scaled[top : top + spec.height, left : left + spec.width]
    return cropped
