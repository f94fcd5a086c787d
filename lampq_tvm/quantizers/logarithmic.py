"""What quantizers of powers share: codes count down from the largest value in equal steps of the logarithm."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lampq_tvm.kinds import Kind
from lampq_tvm.quantizers.protocol import F64, Levels, Quantizer

if TYPE_CHECKING:
    from typing_extensions import Self

U8 = npt.NDArray[np.uint8]
TOP = 255  # the level of the largest probability
TOP_SIGNED = 127  # of the level of largest magnitude of an activation
TINY = 1e-12


def log_codes(share: F64, step: float, last: int) -> U8:
    """rne(-log2(share) / step) within 0 .. last; of a share of 0 and less the last."""
    positive = share > 0
    codes = np.where(positive, np.rint(-np.log2(np.where(positive, share, 1.0)) / step), last)
    return np.clip(codes, 0, last).astype(np.uint8)


def powers(step: float, count: int) -> F64:
    """2^(-step * code) of as many codes."""
    return np.asarray(2.0 ** (-step * np.arange(count)))


class Counting(Quantizer):
    """Codes of a table, which count from 0.

    Attributes:
        bits: width of the codes.
    """

    bits: int

    @property
    def kind(self) -> Kind:
        """Of its codes."""
        return Kind.of_codes(self.bits)

    @property
    def last(self) -> int:
        """The largest code."""
        return (1 << self.bits) - 1


class Probabilities(Counting):
    """Probabilities as levels 0 .. 255 of the largest value, codes counting from 0; a frozen dataclass with these fields.

    Attributes:
        bits: width of the codes.
        largest: value of the level 255.
    """

    largest: float

    @property
    @abstractmethod
    def shares(self) -> F64:
        """[2^bits] what the codes stand for, as shares of the largest value."""

    @property
    def decoder(self) -> Levels:
        """The shares as whole levels."""
        return Levels(np.rint(TOP * self.shares).astype(np.int16), self.largest / TOP)

    def share(self, x: npt.ArrayLike) -> F64:
        """Values as shares of the largest."""
        return np.asarray(x, np.float64) / self.largest


class Powers(Probabilities):
    """x >= 0 is about largest * 2^(-step * code), the last code standing for 0."""

    @property
    @abstractmethod
    def step(self) -> float:
        """Of the logarithm to the base two, from code to code."""

    @property
    def shares(self) -> F64:
        """Powers, and 0."""
        found = powers(self.step, self.last + 1)
        found[-1] = 0
        return found

    def encode(self, x: npt.ArrayLike) -> U8:
        """rne(-log2(x / largest) / step), at most the last code."""
        return log_codes(self.share(x), self.step, self.last)


@dataclass(frozen=True)
class FixedPowers(Powers):
    """Those whose step the kind fixes: only the largest value is chosen."""

    bits: int
    largest: float = 1.0

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Self]:
        """Fractions of the largest value."""
        return [cls(bits, high * fraction) for fraction in fractions]


class Shifted(Counting):
    """Activations from -shift upwards: x + shift is about largest * 2^(-step * code); levels of int8.

    The last code stands for 0, which gives padding and dead channels a code of their own.

    Attributes:
        bits: width of the codes.
        largest: of x + shift.
        shift: positive where there are negative values.
    """

    largest: float
    shift: float

    @property
    @abstractmethod
    def step(self) -> float:
        """Of the logarithm to the base two, from code to code."""

    @property
    def decoder(self) -> Levels:
        """Levels -127 .. 127."""
        real = self.largest * powers(self.step, self.last + 1) - self.shift
        real[-1] = 0
        scale = max(float(np.abs(real).max()), TINY) / TOP_SIGNED
        return Levels(np.rint(real / scale).astype(np.int8), scale)

    def encode(self, x: npt.ArrayLike) -> U8:
        """By the logarithm of x + shift; the code of 0 where 0 is nearer than that code's level."""
        values = np.asarray(x, np.float64)
        codes = log_codes((values + self.shift) / self.largest, self.step, self.last - 1)
        decoded = self.decoder
        nearer = np.abs(values) < np.abs(decoded.values(codes) - values)
        return np.where(nearer, self.last, codes).astype(np.uint8)


def shifted_range(low: float, high: float) -> tuple[float, float]:
    """(largest, shift) of values in low .. high."""
    shift = max(-low, 0.0)
    return max(high + shift, TINY), shift
