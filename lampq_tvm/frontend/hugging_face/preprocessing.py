"""How images are prepared for a model of a folder: the size, mean and standard deviation of its image processor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.files import read_json

RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}  # PIL's numbers
PIXEL = 1 / 255
CLOSE = 1e-4  # relative, of a factor that was written down with few digits


class Processor(pydantic.BaseModel):
    """`preprocessor_config.json`, as far as it says anything here."""

    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)

    image_processor: Processor | None = None  # of processor_config.json
    do_normalize: bool | None = None
    do_rescale: bool | None = None
    do_center_crop: bool | None = None
    do_resize: bool | None = None
    image_mean: list[float] | None = None
    image_std: list[float] | None = None
    rescale_factor: float | None = None
    resample: int | None = None
    crop_pct: float | None = None
    size: dict[str, int] | int | list[int] | None = None
    crop_size: dict[str, int] | int | None = None


@dataclass(frozen=True)
class Preparation:
    """Fields as of `network.model.InputSpec`; None where the file does not say."""

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    interpolation: str = "bicubic"
    crop_pct: float = 1.0


def preparation(path: Path | None) -> Preparation:
    """What a folder's file says; nothing where there is none.

    Raises:
        UsageError: it is broken. UnsupportedError: pixels are scaled in a way that no mean and deviation express.
    """
    if path is None:
        return Preparation()
    found = read_json(path, Processor, "the image processor's configuration", hint="copy the folder again")
    found = found.image_processor or found
    factor = 1.0 if found.do_rescale is False else found.rescale_factor or PIXEL
    if found.do_normalize is not False and found.image_mean is None:
        return _sized(found, None, None)
    mean = (0.0,) if found.do_normalize is False else tuple(found.image_mean or ())
    std = (1.0,) if found.do_normalize is False else tuple(found.image_std or ())
    if abs(factor * 255 - 1) > CLOSE:  # (pixel * factor - mean) / std, of pixels in 0..1
        mean, std = (tuple(v / (255 * factor) for v in values) for values in (mean, std))
    if min(std, default=0.0) <= 0:
        raise UnsupportedError("images scaled in this way are not supported", where=str(path), hint="give --mean and --std")
    return _sized(found, mean, std)


def _sized(found: Processor, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Preparation:
    """With the size of images: cropped ones are what is left of a larger size."""
    resized, cropped = _edges(found.size), _edges(found.crop_size)
    size = cropped if found.do_center_crop and cropped else resized
    crop = found.crop_pct or (min(cropped) / min(resized) if size is cropped and cropped and resized else 1.0)
    resampling = RESAMPLING.get(-1 if found.resample is None else found.resample, "bicubic")
    return Preparation(mean, std, size, resampling, min(1.0, crop))


def _edges(size: Any) -> tuple[int, int] | None:
    """(height, width) of a size in any of its forms; the shortest edge of both."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, list):
        return (size[0], size[-1]) if size else None
    if not size:
        return None
    edge = size.get("shortest_edge")
    height, width = size.get("height", edge), size.get("width", edge)
    return (int(height), int(width)) if height and width else None
