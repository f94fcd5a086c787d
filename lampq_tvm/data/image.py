"""One image file, read by pillow."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lampq_tvm.errors import UsageError


def pillow() -> Any:
    """The module `PIL.Image`; the base install has none."""
    try:
        from PIL import Image
    except ImportError as e:
        what = "reading or resizing images needs pillow, which is not installed"
        raise UsageError(what, where="data", hint="pip install pillow, or give an .npz at the model's input size") from e
    return Image


def read_bytes(file: Path) -> bytes:
    """Bytes of an image file, UsageError where it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as e:
        raise UsageError(f"cannot read the image ({e.strerror})", where=str(file)) from e


def open_image(file: Path, draft: Sequence[int] | None = None) -> Any:
    """A decoded pillow image; `draft` lets JPEG decode at a fraction of its size."""
    pil = pillow()
    try:
        image = pil.open(file)
        if draft is not None:
            image.draft("L", tuple(draft))
        image.load()
    except (OSError, ValueError, SyntaxError, EOFError, zlib.error, pil.DecompressionBombError) as e:
        raise UsageError("a broken image", where=str(file), hint=f"remove or replace it ({str(e).splitlines()[0]})") from e
    return image


def check_file(file: Path, decode: bool) -> None:
    """Raise UsageError for a broken image; without `decode` only its header is read."""
    if decode:
        open_image(file, draft=(16, 16))
        return
    pil = pillow()
    try:
        with pil.open(file):
            pass
    except (OSError, ValueError, SyntaxError, pil.DecompressionBombError) as e:
        raise UsageError("a broken image", where=str(file), hint="remove or replace it") from e
