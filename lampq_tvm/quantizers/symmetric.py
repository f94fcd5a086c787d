"""Codes around zero with a scale for each row: of weights, and of the attention's operands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.kinds import Kind
from lampq_tvm.quantizers.protocol import Affine, Quantizer, quantizer

if TYPE_CHECKING:
    from typing_extensions import Self

I8 = npt.NDArray[np.int8]
SMALLEST = 1e-12  # scale


def weight_range(bits: int) -> tuple[int, int]:
    """Lowest and highest weight code: 8-bit weights leave -128 out, so that plain NEON adds two products in 16 bits."""
    half = 1 << (bits - 1)
    return (-half if bits < 8 else 1 - half), half - 1


@quantizer("symmetric_heads", "operands")
@dataclass(frozen=True, eq=False)
class SymmetricHeads(Quantizer):
    """x is about scale * code, code in -2^(bits-1) .. 2^(bits-1)-1.

    Attributes:
        scale: [..] for values [.., K]; [3, heads] of an attention's q, k and v.
    """

    bits: int
    scale: npt.NDArray[Any]

    @classmethod
    def candidates(
        cls, low: npt.NDArray[Any], high: npt.NDArray[Any], bits: int, fractions: Sequence[float] = (1.0,)
    ) -> list[Self]:
        """Fractions of the scale at which neither end is clipped."""
        full = _at_least(np.maximum(-low, high) / ((1 << (bits - 1)) - 1))
        return [cls(bits, full.dtype.type(fraction) * full) for fraction in fractions]

    @property
    def kind(self) -> Kind:
        """Of its codes."""
        return Kind.of_codes(self.bits)

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest code."""
        return self.kind.low, self.kind.high

    def encode(self, x: npt.ArrayLike) -> I8:
        """sat(rne(x / scale)) of values [.., K]."""
        codes: I8 = np.clip(np.rint(np.asarray(x, np.float64) / self.scale[..., None]), *self.range).astype(np.int8)
        return codes

    @property
    def decoder(self) -> Affine:
        """scale * code."""
        return Affine(self.scale[..., None])


@quantizer("symmetric", "weights")
@dataclass(frozen=True, eq=False)
class SymmetricWeights(SymmetricHeads):
    """Weights [N, K] with one scale a row, [N]: of either sign, since there is one more code below zero than above."""

    @classmethod
    def candidates(
        cls, low: npt.NDArray[Any], high: npt.NDArray[Any], bits: int, fractions: Sequence[float] = (1.0,)
    ) -> list[Self]:
        """Fractions of the scales at which neither end is clipped: upright ones, then those that turn the range round."""
        lowest, highest = weight_range(bits)
        below, above = -low, high
        upright = _at_least(np.maximum(below / -lowest, above / highest))
        turned = _at_least(np.maximum(above / -lowest, below / highest))
        number = upright.dtype.type
        return [cls(bits, number(f) * full) for full in (upright, -turned) for f in fractions]

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest code."""
        return weight_range(self.bits)

    @property
    def zero(self) -> npt.NDArray[np.int64]:
        """[N] zeros, the code of 0."""
        return np.zeros(len(self.scale), np.int64)

    def multiplied(self, codes: I8) -> I8:
        """What kernels multiply of codes [N, K]: themselves."""
        return codes


def _at_least(scale: npt.NDArray[Any]) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = np.maximum(scale, scale.dtype.type(SMALLEST))
    return found
