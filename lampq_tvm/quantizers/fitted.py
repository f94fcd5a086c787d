"""A table of levels fitted to the data: Lloyd's rule (1957), by the error of what the layer makes of it.

Levels are whole numbers of int8, fitted with their rounding; one of them is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.quantizers.logarithmic import TINY, TOP_SIGNED, Counting
from lampq_tvm.quantizers.protocol import F64, Described, Levels, quantizer

if TYPE_CHECKING:
    from typing_extensions import Self

ROUNDS = 40


@quantizer("fitted", "activations")
@dataclass(frozen=True, eq=False)
class Fitted(Counting):
    """x is about scale * levels[code].

    Attributes:
        bits: width of the codes.
        scale: of a level.
        levels: [2^bits] int8, rising.
    """

    bits: int
    scale: float
    levels: npt.NDArray[Any]

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Self]:
        """Even levels of each fraction of the range: where fitting begins."""
        return [cls.of_levels(np.linspace(low * f, high * f, 1 << bits), bits) for f in fractions]

    @classmethod
    def fit(cls, centres: F64, mass: F64, bits: int) -> Self:
        """That of values with these weights.

        Args:
            centres: [B] values, rising.
            mass: [B] how much an error there counts.
        """
        total, moment = (np.concatenate([[0.0], np.cumsum(x)]) for x in (mass, mass * centres))
        share = np.cumsum(np.cbrt(mass))  # Panter and Dite: levels as dense as the cube root of the mass
        levels = np.interp((np.arange(1 << bits) + 0.5) / (1 << bits) * share[-1], share, centres)
        for _ in range(ROUNDS):
            levels[np.abs(levels).argmin()] = 0.0
            ends = np.searchsorted(centres, (levels[1:] + levels[:-1]) / 2)
            cuts = np.concatenate([[0], ends, [len(centres)]])
            weights, sums = total[cuts[1:]] - total[cuts[:-1]], moment[cuts[1:]] - moment[cuts[:-1]]
            levels = np.where(weights > 0, sums / np.where(weights > 0, weights, 1.0), levels)
        return cls.of_levels(levels, bits)

    @classmethod
    def of_levels(cls, real: F64, bits: int) -> Self:
        """That of real levels, the one nearest to 0 made 0."""
        scale = max(float(np.abs(real).max()), TINY) / TOP_SIGNED
        levels = np.rint(np.sort(real) / scale).astype(np.int8)
        levels[np.abs(levels.astype(int)).argmin()] = 0
        return cls(bits, scale, np.sort(levels))

    @property
    def described(self) -> Described:
        """As of every quantizer; its levels besides."""
        return {**super().described, "levels": tuple(self.levels.tolist())}

    @property
    def decoder(self) -> Levels:
        """Its levels."""
        return Levels(self.levels, self.scale)

    def encode(self, x: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """The nearest level's code."""
        real = self.scale * self.levels.astype(np.float64)
        found: npt.NDArray[np.uint8] = np.searchsorted((real[1:] + real[:-1]) / 2, np.asarray(x, np.float64)).astype(np.uint8)
        return found
