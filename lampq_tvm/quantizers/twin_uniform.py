"""Two ranges of even steps, one step a power of two of the other, so that a shift brings both to one scale.

Twin uniform quantization (PTQ4ViT, ECCV 2022); that the ratio 2^m is chosen by the data is MPTQ-ViT's (2024). Half the codes
belong to each range: of probabilities the small and the large ones, of what follows GELU the negative and the positive ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lampq_tvm.quantizers.logarithmic import TINY, Counting, Probabilities
from lampq_tvm.quantizers.protocol import F64, Levels, quantizer

if TYPE_CHECKING:
    from typing_extensions import Self

RATIOS = (3, 1, 2, 4, 5, 6)  # m of probabilities
LARGEST_LEVEL = 127


@quantizer("twin_uniform", "probabilities")
@dataclass(frozen=True)
class TwinUniform(Probabilities):
    """x / largest: codes below 2^(bits-1) are steps of 2^-m / 2^(bits-1), the others steps of 1 / 2^(bits-1)."""

    bits: int
    largest: float
    m: int

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Self]:
        """Every ratio, for each fraction of the largest value."""
        return [cls(bits, high * fraction, m) for fraction in fractions for m in RATIOS]

    @property
    def shares(self) -> F64:
        """Small steps from 0, then large ones up to 1."""
        half = 1 << (self.bits - 1)
        steps = np.arange(half)
        return np.concatenate([steps * 2.0**-self.m, steps + 1]) / half

    def encode(self, x: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """The nearest code of either range."""
        half = 1 << (self.bits - 1)
        share = np.clip(self.share(x), 0, 1) * half
        small = np.clip(np.rint(share * 2.0**self.m), 0, half - 1)
        large = np.clip(np.rint(share) - 1, 0, half - 1)
        takes_large = np.abs(large + 1 - share) < np.abs(small * 2.0**-self.m - share)
        return np.where(takes_large, half + large, small).astype(np.uint8)


@quantizer("twin_uniform_signed", "activations")
@dataclass(frozen=True)
class SignedTwinUniform(Counting):
    """Codes below 2^(bits-1) stand for scale * 2^m * code, the others for -scale * (code - 2^(bits-1) + 1).

    Attributes:
        bits: width of the codes.
        scale: step of the negative values.
        m: step of the others is 2^m times as large.
    """

    bits: int
    scale: float
    m: int

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Self]:
        """Fractions of the upper end; the ratio that comes nearest to the lower end, and its neighbours."""
        half = 1 << (bits - 1)
        most = max(0, int(np.log2(LARGEST_LEVEL // max(half - 1, 1))))
        found = []
        for fraction in fractions:
            step = max(high * fraction, TINY) / (half - 1)
            near = int(np.clip(np.rint(np.log2(step / (max(-low, TINY) / half))), 0, most))
            found += [cls(bits, step / (1 << m), m) for m in sorted(range(most + 1), key=lambda m: abs(m - near))]
        return found

    @property
    def decoder(self) -> Levels:
        """Multiples of the smaller step, within +-127: at 8 bits the two most negative codes are the same."""
        half = 1 << (self.bits - 1)
        steps = np.arange(half)
        return Levels(np.concatenate([steps << self.m, -(steps + 1)]).clip(-LARGEST_LEVEL).astype(np.int8), self.scale)

    def encode(self, x: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """The nearest code of the sign's range."""
        half = 1 << (self.bits - 1)
        units = np.asarray(x, np.float64) / self.scale
        positive = np.clip(np.rint(units / (1 << self.m)), 0, half - 1)
        negative = np.clip(np.rint(-units) - 1, 0, half - 1)
        takes_negative = np.abs(-(negative + 1) - units) < np.abs(positive * (1 << self.m) - units)
        return np.where(takes_negative, half + negative, positive).astype(np.uint8)
