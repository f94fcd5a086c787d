"""Evenly spaced values: a scale and a zero point, so that zero is one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lampq_tvm.kinds import Kind
from lampq_tvm.quantizers.protocol import Affine, Quantizer, quantizer

if TYPE_CHECKING:
    from typing_extensions import Self


@quantizer("uniform", "activations", "probabilities")
@dataclass(frozen=True)
class Uniform(Quantizer):
    """x is about scale * (code - zero), code in -2^(bits-1) .. 2^(bits-1)-1."""

    bits: int
    scale: float
    zero: int

    @classmethod
    def of_range(cls, low: float, high: float, bits: int) -> Self:
        """That of low .. high and zero."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max(high - low, 1e-8) / ((1 << bits) - 1)
        half = 1 << (bits - 1)
        return cls(bits, scale, int(np.clip(np.rint(-half - low / scale), -half, half - 1)))

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Self]:
        """Every pair of a fraction of the lower end and one of the upper end."""
        return [cls.of_range(low * a, high * b, bits) for a in fractions for b in fractions]

    @property
    def kind(self) -> Kind:
        """Of its codes."""
        return Kind.of_codes(self.bits)

    @property
    def low(self) -> int:
        """Smallest code."""
        return self.kind.low

    @property
    def high(self) -> int:
        """Largest code."""
        return self.kind.high

    def encode(self, x: npt.ArrayLike) -> npt.NDArray[np.int8]:
        """sat(rne(x / scale + zero))."""
        return np.clip(np.rint(np.asarray(x, np.float64) / self.scale + self.zero), self.low, self.high).astype(np.int8)

    @property
    def decoder(self) -> Affine:
        """scale * (code - zero)."""
        return Affine(self.scale, self.zero)
