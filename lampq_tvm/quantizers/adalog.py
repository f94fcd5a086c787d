"""A base that is searched: powers of 2^(q / 37) (AdaLog, ECCV 2024).

Published code looks mantissas of bits + 1 bits up and shifts them, and masks what lies below the last of 2^bits powers to an
exact zero, one value more than the codes hold. Here levels are whole numbers up to 255 (127 for activations), rounded once,
and the last code stands for 0; the base is chosen with both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lampq_tvm.quantizers.logarithmic import Powers, Shifted, shifted_range
from lampq_tvm.quantizers.protocol import quantizer

if TYPE_CHECKING:
    from typing_extensions import Self

DENOMINATOR = 37
NUMERATORS = (18, 5, 8, 10, 12, 14, 16, 20, 22, 25, 28, 31, 34, 37, 44, 52, 60, 74)  # about the root of two first


@quantizer("adalog", "probabilities")
@dataclass(frozen=True)
class AdaLog(Powers):
    """x >= 0 is about largest * 2^(-q code / 37), the last code standing for 0."""

    bits: int
    largest: float
    q: int

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Self]:
        """Fractions of the largest value, each with every base."""
        return [cls(bits, high * fraction, q) for fraction in fractions for q in NUMERATORS]

    @property
    def step(self) -> float:
        """The logarithm of the base."""
        return self.q / DENOMINATOR


@quantizer("shifted_adalog", "activations")
@dataclass(frozen=True)
class ShiftedAdaLog(Shifted):
    """x + shift is about largest * 2^(-q code / 37), the last code standing for 0: what follows GELU (shift 0.17)."""

    clips_below: ClassVar[bool] = False
    bits: int
    largest: float
    shift: float
    q: int

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Self]:
        """Fractions of the largest value, each with every base."""
        return [cls(bits, *shifted_range(low, high * fraction), q) for fraction in fractions for q in NUMERATORS]

    @property
    def step(self) -> float:
        """The logarithm of the base."""
        return self.q / DENOMINATOR
