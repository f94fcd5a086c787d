"""Even levels within a part of the range: what lies outside takes the nearest end.

`dfq` is the dynamic focusing quantizer of AIQViT (AAAI 2025), whose interval is learned there (equations not public) and
searched here. `mpq` is APQ-ViT's Matthew-effect preserving quantizer (ACM MM 2022): its upper end is always the largest value.
Probabilities of exactly 0 (masked tokens) have code 0; the others share the rest of the codes.
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

LOWER = (0.0, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12)  # ends, as shares of the largest value
UPPER = (1.0, 0.9, 0.8, 0.65, 0.5, 0.35, 0.25)


class _Focusing(Probabilities):
    """Codes 1 .. last stand for even steps from `first` to `end`, code 0 for 0."""

    first: float
    end: float

    @property
    def shares(self) -> F64:
        """0, then the interval; one level is the interval's end where it holds one only."""
        return np.concatenate([[0.0], np.linspace(self.first, self.end, self.last)])

    def encode(self, x: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """The nearest code; 0 where 0 is nearer than the interval's first level."""
        share = self.share(x)
        step = (self.end - self.first) / (self.last - 1)
        inner = 1 + np.clip(np.rint((share - self.first) / step), 0, self.last - 1)
        return np.where(share < self.first / 2, 0, np.where(share <= 0, 0, inner)).astype(np.uint8)


@quantizer("dfq", "probabilities")
@dataclass(frozen=True)
class DynamicFocusing(_Focusing):
    """x / largest is about first + (code - 1) step up to `end`; code 0 stands for 0."""

    bits: int
    largest: float
    first: float
    end: float

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Self]:
        """Every interval of two ends, for each fraction of the largest value."""
        return [cls(bits, high * f, first, end) for f in fractions for end in UPPER for first in LOWER if first < end]


@quantizer("mpq", "probabilities")
@dataclass(frozen=True)
class MatthewPreserving(_Focusing):
    """x / largest is about first + (code - 1) step up to 1; code 0 stands for 0."""

    bits: int
    largest: float
    first: float

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Self]:
        """Every lower end, for each fraction of the largest value."""
        return [cls(bits, high * fraction, first) for fraction in fractions for first in LOWER]

    @property
    def end(self) -> float:  # type: ignore[override]
        """The largest value."""
        return 1.0
