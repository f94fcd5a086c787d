"""Float images that cannot be what a model takes are noticed, those that can are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lampq_tvm.runtime.plausible import doubt

SCALES = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,) * 3, (0.5,) * 3),
    "clip": ((0.4815, 0.4578, 0.4082), (0.2686, 0.2613, 0.2758)),
    "grey": ((0.286,), (0.353,)),
    "none": ((0.0,) * 3, (1.0,) * 3),
}


def scene(channels: int, seed: int = 0) -> np.ndarray:
    """Smooth images [4, C, 48, 48] uint8 with sharp edges that use the whole range."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, channels, 6, 6)).repeat(8, 2).repeat(8, 3)
    return np.clip(coarse + rng.integers(-20, 20, coarse.shape), 0, 255).astype(np.uint8)


def normalized(pixels, mean, std):
    shift, scale = (np.array(v, np.float32)[:, None, None] for v in (mean, std))
    return ((pixels / np.float32(255) - shift) / scale).astype(np.float32)


def look(images, mean, std):
    return doubt(images.astype(np.float32), 255 * np.array(std, np.float32), 255 * np.array(mean, np.float32))


@pytest.fixture(params=SCALES)
def case(request):
    mean, std = SCALES[request.param]
    return mean, std, scene(len(mean))


def test_normalized_pixels_are_fine(case):
    mean, std, pixels = case
    for images in (pixels, np.zeros_like(pixels), np.full_like(pixels, 255), pixels // 4 + 100):
        assert look(normalized(images, mean, std), mean, std) is None


def test_resized_as_floats_is_fine(case):
    mean, std, pixels = case
    resized = torch.nn.functional.interpolate(torch.from_numpy(normalized(pixels, mean, std)), 31, mode="bicubic")
    assert look(resized.numpy(), mean, std) is None


def test_pixels_of_255_are_noticed(case):
    mean, std, pixels = case
    line = look(pixels, mean, std)
    assert line is not None and "clipped" in line and "uint8" in line


def test_pixels_of_1_are_noticed(case):
    mean, std, pixels = case
    line = look(pixels / 255, mean, std)
    assert line is None if mean[0] == 0 else "not normalized" in str(line)


def test_twice_normalized_is_noticed(case):
    mean, std, pixels = case
    line = look(normalized(255 * normalized(pixels, mean, std), mean, std), mean, std)
    assert line is None if mean[0] == 0 else "clipped" in str(line)


def test_one_value_far_away_is_noticed():
    mean, std = SCALES["imagenet"]
    images = normalized(scene(3), mean, std)
    images[0, 1, 3, 3] = 1e4
    assert "1e+04" in str(look(images, mean, std))
