"""Losses that a bit divides by a fixed factor: what metrics of one figure a layer come to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


def decaying(omega: F64, gamma: float, widths: Sequence[int]) -> F64:
    """gamma^-w omega, [layers, w, a], the same for every a.

    >>> decaying(np.array([1.0]), 4.0, (2, 3))[0, :, 0].tolist()
    [0.0625, 0.015625]
    """
    by_weight = omega[:, None] * gamma ** -np.array(widths, np.float64)
    return np.repeat(by_weight[:, :, None], len(widths), axis=2)
