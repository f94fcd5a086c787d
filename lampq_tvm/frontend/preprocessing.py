"""What is done to an image before the network: shown as text, and what a mean and a standard deviation can be."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lampq_tvm.errors import UsageError
from lampq_tvm.network.model import InputSpec

LARGEST_STD = 1.01  # 1 leaves pixels as they are, 256/255 divides them by 256
SMALLEST_STD = 1 / 256  # 1/255 gives the network pixels of 0..255
PIXEL_UNITS = 255.0


def check_scale(mean: Sequence[float] | None, std: Sequence[float] | None, own: str | None = None) -> None:
    """Refuse a mean and a standard deviation that cannot be those of pixels in 0..1; None is not looked at.

    Args:
        mean, std: one number, or one per channel.
        own: the model whose own they are; None for those of `--mean` and `--std`.

    Raises:
        UsageError: what is wrong, and what would be right.
    """
    _check(mean, 0.0, 1.0, "--mean", "mean", own)
    _check(std, SMALLEST_STD, LARGEST_STD, "--std", "standard deviation", own)


def _check(values: Sequence[float] | None, low: float, high: float, option: str, word: str, own: str | None) -> None:
    """One of the two, which must lie in low..high."""
    bad = [v for v in values or () if not low <= v <= high]
    if not bad:
        return
    where = option if own is None else f"{own}: pretrained_cfg"
    give = "" if own is None else f"{option} "
    example = "0.485,0.456,0.406" if option == "--mean" else "0.229,0.224,0.225"
    if math.isfinite(bad[0]) and high < bad[0] <= PIXEL_UNITS:
        what = f"{bad[0]:g} is a {word} of pixels in 0..255"
        numbers = ",".join(f"{v / PIXEL_UNITS if v > high else v:.4g}" for v in values or ())
        raise UsageError(what, where=where, hint=f"pixels are taken in 0..1: give {give}{numbers} (divided by 255)")
    what = f"{bad[0]:g} cannot be a {word} of pixels in 0..1"
    raise UsageError(what, where=where, hint=f"give {give}numbers in {low:.3g}..{high:.3g}, for example {example}")


def input_rows(spec: InputSpec) -> dict[str, str]:
    """The image a model takes and its preprocessing, for a table.

    >>> input_rows(InputSpec(1, 28, 28, (0.286,), (0.353,), crop_pct=0.9))["crop-pct"]
    '0.9'
    """
    return {
        "size": f"{spec.height}x{spec.width}",
        "channels": str(spec.channels),
        "mean": " ".join(f"{v:g}" for v in spec.mean),
        "std": " ".join(f"{v:g}" for v in spec.std),
        "interpolation": spec.interpolation,
        "crop-pct": f"{spec.crop_pct:g}",
    }
