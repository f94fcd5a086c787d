"""One image file, read by pillow: what its header says, and its pixels at their full meaning."""

from __future__ import annotations

import functools
import importlib
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lampq_tvm.data.formats import GREY_MODES, PLUGINS, READERS
from lampq_tvm.errors import UsageError

ORIENTATION = 0x0112  # EXIF's tag
TIFF_BITS, TIFF_MEANING, TIFF_SIGN = 258, 262, 339  # TIFF's tags
WHITE_IS_ZERO, UNSIGNED = 0, 1
MOST_PIXELS = 1 << 27  # of an image, also once it is scaled: half a gigabyte each for pillow's pixels and their copy


@dataclass(frozen=True)
class Header:
    """What is known of an image file before its pixels.

    Attributes:
        height, width: in pixels.
        ignored: what the file says and the model will not see, a few words each.
    """

    height: int
    width: int
    ignored: tuple[str, ...]


def look(file: Path, channels: int, *, decode: bool) -> Header:
    """Read an image's header; with `decode` its pixels too (a JPEG's at an eighth of its size), so that a broken file is found.

    Args:
        file: the image.
        channels: of the model.
        decode: read the pixels.

    Raises:
        UsageError: the file is broken, or its pixels have no meaning that can be told.
    """
    with _opened(file) as image:
        _check(file, image)
        height, width = image.height, image.width
        if decode:
            image.draft("L", (16, 16))
            image.load()
        return Header(height, width, tuple(_ignored(image, channels)))


def read_pixels(file: Path, channels: int) -> np.ndarray:
    """Pixels [H, W, C] uint8 of an image: C is 1 where it is grey (unless the model takes RGBA), else 3, or 4 for RGBA.

    Raises:
        UsageError: as of `look`.
    """
    with _opened(file) as image:
        _check(file, image)
        image.load()
        if image.mode in ("La", "RGBa"):  # colours times alpha
            image = image.convert(image.mode.upper())
        if image.mode.startswith("I"):
            return _sixteen_bits(image, channels)
        mode = "RGBA" if channels == 4 else "L" if image.mode in GREY_MODES else "RGB"
        pixels = np.asarray(image if image.mode == mode else image.convert(mode))
        return pixels if pixels.ndim == 3 else pixels[..., None]


def check_size(height: int, width: int, where: str, most: int = MOST_PIXELS) -> None:
    """Raise UsageError for an image of more than `most` pixels, which would take too much memory."""
    if height * width > most:
        hint = f"the limit is {most // 1_000_000} million pixels: crop it, or leave it out"
        raise UsageError(f"an image of {width} x {height} pixels is too large", where=where, hint=hint)


def read_bytes(file: Path) -> bytes:
    """Bytes of an image file, UsageError where it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as e:
        raise UsageError(f"cannot read the image ({e.strerror})", where=str(file)) from e


@functools.cache
def pillow() -> Any:
    """The module `PIL.Image` with the readers of `formats.READERS`; the base install has none."""
    try:
        from PIL import Image

        for name in PLUGINS:
            importlib.import_module(f"PIL.{name}ImagePlugin")
    except ImportError as e:
        what = "reading or resizing images needs pillow, which is not installed"
        raise UsageError(what, where="data", hint="pip install pillow, or give an .npz at the model's input size") from e
    return Image


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """A pillow image whose header is read; whatever pillow meets in a damaged file is one line."""
    pil = pillow()
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise UsageError("no plain file", where=str(file), hint="remove it")
        with warnings.catch_warnings():  # what pillow warns of is either refused here or of no weight
            warnings.simplefilter("ignore")
            with pil.open(file, formats=READERS) as image:
                yield image
    except UsageError:
        raise
    except Exception as e:  # pillow's readers raise whatever a damaged file leads them to
        reason = " ".join(str(e).replace(repr(str(file)), "it").split())[:160] or type(e).__name__
        hint = f"remove or replace it, or give --skip-broken ({reason})"
        raise UsageError("a broken image", where=str(file), hint=hint) from e


def _check(file: Path, image: Any) -> None:
    """Raise UsageError for too many pixels, or for such that do not say which value is white."""
    # pillow holds two more copies of a WebP
    check_size(image.height, image.width, str(file), MOST_PIXELS // 2 if image.format == "WEBP" else MOST_PIXELS)
    mode, tiff = image.mode, image.format == "TIFF"
    kinds = {"F": "floating-point pixels", "LAB": "CIE L*a*b* pixels", "HSV": "HSV pixels"}
    what = kinds.get(mode)
    if mode == "I" and tiff:
        what = "32-bit or signed integer pixels"
    if tiff and any(sign != UNSIGNED for sign in image.tag_v2.get(TIFF_SIGN, (UNSIGNED,))):
        what = what or "signed pixels"
    if what is not None:
        hint = "save it with 8 or 16 bits a channel, as grey or RGB, or give --skip-broken"
        raise UsageError(f"{what} have no known white", where=str(file), hint=hint)


def _ignored(image: Any, channels: int) -> Iterator[str]:
    """What an image says and torchvision's folders do not show to a model."""
    late = image.format == "PNG" and "exif" not in image.info  # asking would decode the pixels
    if not late and image.getexif().get(ORIENTATION, 1) not in (0, 1):
        yield "EXIF orientation, ignored as torchvision does (turn them before, if the model was trained so)"
    has_alpha = "A" in image.mode or "a" in image.mode or "transparency" in image.info
    if has_alpha and channels != 4:
        yield "transparency, ignored as torchvision does"
    if channels == 4 and not has_alpha:
        yield "no alpha, taken as opaque"
    if getattr(image, "n_frames", 1) > 1:
        yield "more than one frame or page, of which the first is taken"


def _sixteen_bits(image: Any, channels: int) -> np.ndarray:
    """Grey pixels of 16 bits (12 in some TIFFs), scaled to 8 as their format scales white: [H, W, 1], or RGBA."""
    values, white = np.asarray(image), 65535
    shades = np.arange(1 << 16)
    if image.format == "TIFF":
        white = (1 << int(image.tag_v2.get(TIFF_BITS, (16,))[0])) - 1
        if image.tag_v2.get(TIFF_MEANING) == WHITE_IS_ZERO:  # pillow turns these round at 8 bits only
            shades = white - shades
    shades = ((shades.clip(0, white) * 255 + white // 2) // white).astype(np.uint8)
    grey = np.stack([shades[row] for row in values])  # row by row: indices take eight bytes each
    if channels != 4:
        return grey[..., None]
    hidden = values == image.info.get("transparency", -1)
    return np.stack([grey, grey, grey, np.where(hidden, 0, 255).astype(np.uint8)], -1)
