"""Every weight rounded by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lampq_tvm.calibrate.rounding import I8, ROUNDINGS, Rounding
from lampq_tvm.quantizers.weights import Weights
from lampq_tvm.recipes.schema import RoundingOptions

if TYPE_CHECKING:
    from torch import Tensor


def rounded(weight: Tensor, quantizers: Mapping[int, Weights], moments: Tensor, options: RoundingOptions) -> dict[int, I8]:
    """None: what has no codes is rounded to nearest where it is used (`calibrate.planned`)."""
    return {}


ROUNDINGS.add("nearest", Rounding(rounded))
