"""The row's largest probability exactly, even levels for the others (DeMax of UQ-ViT, AAAI 2026).

Probabilities here are relative to their row's largest, so its value is 1 in every row and one code holds it exactly. The
published step follows the second largest value of each row when the model runs; here the end of the even levels is calibrated.
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

ENDS = (0.7, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9)  # of the even levels, as shares of the largest value


@quantizer("demax", "probabilities")
@dataclass(frozen=True)
class DeMax(Probabilities):
    """x / largest is 1 at the last code, and about end * code / (last - 1) at the others."""

    bits: int
    largest: float
    end: float

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Self]:
        """Every end, for each fraction of the largest value."""
        return [cls(bits, high * fraction, end) for fraction in fractions for end in ENDS]

    @property
    def shares(self) -> F64:
        """Even steps from 0 to the end, then 1."""
        return np.append(np.linspace(0, self.end, self.last), 1.0)

    def encode(self, x: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """The nearest code."""
        share = self.share(x)
        even = np.clip(np.rint(share * (self.last - 1) / self.end), 0, self.last - 1)
        return np.where(share > (self.end + 1) / 2, self.last, even).astype(np.uint8)
