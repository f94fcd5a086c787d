"""Powers of the square root of two: fine where probabilities are small (RepQ-ViT, ICCV 2023).

Published code keeps 2^bits powers and masks what lies below them to an exact zero, which is one value more than the codes
hold; here the last code stands for 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lampq_tvm.quantizers.logarithmic import Powers
from lampq_tvm.quantizers.protocol import quantizer

if TYPE_CHECKING:
    from typing_extensions import Self


@quantizer("log_sqrt2", "probabilities")
@dataclass(frozen=True)
class LogSqrt2(Powers):
    """x >= 0 is about largest * 2^(-code / 2), codes 0 .. 2^bits - 1, the last one standing for 0."""

    bits: int
    largest: float = 1.0

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Self]:
        """Fractions of the largest value."""
        return [cls(bits, high * fraction) for fraction in fractions]

    @property
    def step(self) -> float:
        """Half a power of two."""
        return 0.5
