"""Whether float images can be what a model takes: pixels in 0..1, normalized once by its mean and standard deviation.

What normalized pixels can be is known exactly: those of 0..255. Images that were resized as floats go beyond it a little, at
few places; images that were not normalized, or twice, or hold 0..255, are far beyond it at many or never fill it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
NEAR = 4.0  # levels beyond 0..255 that are no sign of anything
SHARE = 0.05  # of values that may lie further away
FAR = 128.0  # levels beyond 0..255 where no resizing leads
SPAN = 0.5  # of 0..1, from which on values that stay within it look like pixels that were not normalized


def doubt(images: F32, scale: F32, shift: F32) -> str | None:
    """What is odd about float images, one line; None where nothing is.

    Args:
        images: [N, C, H, W] finite.
        scale, shift: [C] 255 std and 255 mean, which bring a value back to its pixel.
    """
    ends = np.stack([images.min((0, 2, 3)), images.max((0, 2, 3))])
    pixels = ends * scale + shift
    if pixels.min() < -NEAR or pixels.max() > 255 + NEAR:
        return _outside(images, scale, shift)
    low, high = float(ends.min()), float(ends.max())
    identity = np.allclose(scale, 255) and np.allclose(shift, 0)
    if low >= 0 and high <= 1 and high - low >= SPAN and not identity:
        return f"all values lie in 0..1, as those of pixels that were not normalized; {_takes(scale, shift)}"
    return None


def _outside(images: F32, scale: F32, shift: F32) -> str | None:
    """The line for images some of whose values are no pixels."""
    pixels = images * scale[:, None, None] + shift[:, None, None]
    beyond = np.maximum(-pixels, pixels - 255)
    share = float((beyond > NEAR).mean())
    if share <= SHARE and float(beyond.max()) <= FAR:
        return None
    found = f"values in {float(images.min()):.4g}..{float(images.max()):.4g}"
    return f"{share:.1%} of the values ({found}) are no pixels of 0..255 and are clipped; {_takes(scale, shift)}"


def _takes(scale: F32, shift: F32) -> str:
    """What the model takes."""
    mean, std = (",".join(f"{v / 255:.4g}" for v in values) for values in (shift, scale))
    low, high = float((-shift / scale).min()), float(((255 - shift) / scale).max())
    return f"the model takes (pixel / 255 - {mean}) / {std}, that is {low:.4g}..{high:.4g}, or uint8 pixels"
