"""Levels that are dense near 0 and near the largest value, by the tangent.

DopQ-ViT (2024) describes such a quantizer and calls it TanQ; its formula is not public. This one is ours and answers to the
description alone: u = (1 + tan(a (2 x - 1)) / tan a) / 2 is quantized evenly; a towards 0 makes it uniform.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lampq_tvm.quantizers.logarithmic import Probabilities
from lampq_tvm.quantizers.protocol import F64, quantizer

if TYPE_CHECKING:
    from typing_extensions import Self

ANGLES = (1.2, 0.3, 0.6, 0.8, 1.0, 1.1, 1.3, 1.4, 1.45, 1.5)  # below half of pi


@quantizer("tanq", "probabilities")
@dataclass(frozen=True)
class TanQ(Probabilities):
    """x / largest is about (1 + atan((2 code / last - 1) tan a) / a) / 2, which is 0 at code 0."""

    bits: int
    largest: float
    a: float

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Self]:
        """Fractions of the largest value, each with every angle."""
        return [cls(bits, high * fraction, a) for fraction in fractions for a in ANGLES]

    @property
    def shares(self) -> F64:
        """The arc tangent of evenly spaced values."""
        even = 2 * np.arange(self.last + 1) / self.last - 1
        return np.asarray(np.clip((1 + np.arctan(even * np.tan(self.a)) / self.a) / 2, 0, 1))

    def encode(self, x: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """The tangent, evenly."""
        u = (1 + np.tan(self.a * (2 * np.clip(self.share(x), 0, 1) - 1)) / np.tan(self.a)) / 2
        codes: npt.NDArray[np.uint8] = np.rint(self.last * u).astype(np.uint8)
        return codes
