"""Even steps of a shifted logarithm, decoded as powers of two (SULQ of I&S-ViT, 2023).

u = -log2(x + eta) is quantized evenly and x is about 2^-rne(u) - eta. Published code clamps codes to 0 .. 2^bits, one too many;
here there are 2^bits, and the last one stands for an exact 0.
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

SHIFTS = (0.01, 0.001, 0.005, 0.02, 0.03, 0.04, 0.05, 0.1, 0.2, 0.5, 1.0)


@quantizer("shift_uniform_log2", "probabilities")
@dataclass(frozen=True)
class ShiftUniformLog2(Probabilities):
    """x / largest is about 2^-rne(low + step code) - eta, the last code standing for 0."""

    bits: int
    largest: float
    eta: float

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Self]:
        """Fractions of the largest value, each with every shift."""
        return [cls(bits, high * fraction, eta) for fraction in fractions for eta in SHIFTS]

    @property
    def _first(self) -> float:
        """The shifted logarithm of the largest value."""
        return float(-np.log2(1 + self.eta))

    @property
    def _step(self) -> float:
        """Between codes; the last of them would be that of 0."""
        return float(-np.log2(self.eta) - self._first) / self.last

    @property
    def shares(self) -> F64:
        """Whole powers of two, lowered by eta, within 0 .. 1; the largest value's own at code 0."""
        exponents = np.rint(self._first + self._step * np.arange(self.last + 1))
        found = np.clip(2.0**-exponents - self.eta, 0, 1)
        found[-1] = 0
        return np.asarray(found)

    def encode(self, x: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Evenly spaced codes of -log2(x / largest + eta)."""
        u = -np.log2(np.clip(self.share(x), 0, 1) + self.eta)
        return np.clip(np.rint((u - self._first) / self._step), 0, self.last).astype(np.uint8)
