"""Integer weights from scales, and weights in float16."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int8]


def weight_range(bits: int) -> tuple[int, int]:
    """Lowest and highest weight code: 8-bit weights leave -128 out, so that plain NEON adds two products in 16 bits."""
    half = 1 << (bits - 1)
    return (-half if bits < 8 else 1 - half), half - 1


def weight_codes(weight: npt.NDArray[np.floating], scale: F64, bits: int) -> I8:
    """Symmetric codes rne(w / s) within -2^(bits-1) .. 2^(bits-1)-1; weight [N, K], scale [N]."""
    return np.clip(np.rint(np.asarray(weight, np.float64) / scale[:, None]), *weight_range(bits)).astype(np.int8)


def half_weights(weight: F64) -> tuple[npt.NDArray[np.float16], F64]:
    """(float16 weights [N, K], scale [N]): a power of two per output channel brings the largest to (1/2, 1].

    So no weight leaves float16, and rounding errors are at most 2^-11 of a weight, or 2^-25 of its channel's largest.
    """
    largest = np.abs(weight).max(1)
    scale = 2.0 ** np.ceil(np.log2(np.where(largest > 0, largest, 1)))
    return (weight / scale[:, None]).astype(np.float16), scale
