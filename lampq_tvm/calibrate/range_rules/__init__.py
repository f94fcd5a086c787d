"""What is known of an operator's output before it is seen: one file a kind of operator, whose rules are found by its class.

Ranges are pairs of arrays [C], smallest and largest value of each channel.

    RANGES      that of an output whose every value comes from one of its input's, seen in float32: (operator, low, high)
    MEANS       bounds of an output whose rows are means over the image: (operator, low, high)
    DEVIATIONS  standard deviations [C] as far as weights tell them, or None: (model, operator, `before`), where `before` gives
                those of a value by its name
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.registry import Registry

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Range = tuple[F64, F64]
Deviation = Callable[[str], F64 | None]

RANGES: Registry[type, Callable[..., Range]] = Registry("range of an operator", __name__, UnsupportedError)
MEANS: Registry[type, Callable[..., Range]] = Registry("bounds of means", __name__, UnsupportedError)
DEVIATIONS: Registry[type, Callable[..., F64 | None]] = Registry("deviation of an operator", __name__, UnsupportedError)
