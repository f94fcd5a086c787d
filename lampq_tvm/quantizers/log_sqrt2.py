"""Powers of the square root of two: fine where probabilities are small (RepQ-ViT, ICCV 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lampq_tvm.kinds import Kind
from lampq_tvm.quantizers.protocol import Levels, Quantizer, quantizer

if TYPE_CHECKING:
    from typing_extensions import Self

TOP = 255  # the level of the largest value


@quantizer("log_sqrt2", "probabilities")
@dataclass(frozen=True)
class LogSqrt2(Quantizer):
    """x >= 0 is about largest * 2^(-code / 2), codes 0 .. 2^bits - 1, the last one standing for 0."""

    bits: int
    largest: float = 1.0

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Self]:
        """Fractions of the largest value."""
        return [cls(bits, high * fraction) for fraction in fractions]

    @property
    def kind(self) -> Kind:
        """Of its codes, which count from 0."""
        return Kind.of_codes(self.bits)

    @property
    def last(self) -> int:
        """The code of 0."""
        return (1 << self.bits) - 1

    def encode(self, x: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """rne(-2 log2(x / largest)), at most the last code."""
        share = np.asarray(x, np.float64) / self.largest
        codes = np.where(share > 0, np.rint(-2 * np.log2(np.where(share > 0, share, 1.0))), self.last)
        return np.clip(codes, 0, self.last).astype(np.uint8)

    @property
    def decoder(self) -> Levels:
        """Levels 0 .. 255 of the largest value."""
        codes = np.arange(self.last + 1)
        levels = np.where(codes == self.last, 0.0, TOP * 2.0 ** (-codes / 2))
        return Levels(np.rint(levels).astype(np.int16), self.largest / TOP)
