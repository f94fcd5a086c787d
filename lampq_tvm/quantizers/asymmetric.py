"""Weights of a range that need not be centred: a scale and a zero point for each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kinds import Kind
from lampq_tvm.quantizers.protocol import Affine, Quantizer, quantizer

if TYPE_CHECKING:
    from typing_extensions import Self

WIDEST = 7  # codes minus their zero point are multiplied as int8


@quantizer("asymmetric", "weights")
@dataclass(frozen=True, eq=False)
class AsymmetricWeights(Quantizer):
    """w is about scale * (code - zero) for weights [N, K].

    Kernels multiply code - zero, a number of one bit more; payloads hold codes and zero points. At 8 bits, where the difference
    would not fit a byte, such weights are symmetric.

    Attributes:
        bits: width of the codes, -2^(bits-1) .. 2^(bits-1)-1.
        scale: [N], positive.
        zero: [N] codes, so that zero is a value.
    """

    bits: int
    scale: npt.NDArray[Any]
    zero: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.bits > WIDEST:
            hint = f"use at most {WIDEST} bits, or symmetric weights"
            raise UnsupportedError(f"asymmetric weights of {self.bits} bits do not fit a byte", hint=hint)

    @classmethod
    def candidates(
        cls, low: npt.NDArray[Any], high: npt.NDArray[Any], bits: int, fractions: Sequence[float] = (1.0,)
    ) -> list[Self]:
        """Every pair of a fraction of the lower ends and one of the upper ends."""
        return [cls.of_range(low * a, high * b, bits) for a in fractions for b in fractions]

    @classmethod
    def of_range(cls, low: npt.NDArray[Any], high: npt.NDArray[Any], bits: int) -> Self:
        """That of low .. high [N] and zero."""
        least, most = np.minimum(low, 0).astype(np.float64), np.maximum(high, 0).astype(np.float64)
        scale = np.maximum(most - least, 1e-8) / ((1 << bits) - 1)
        half = 1 << (bits - 1)
        return cls(bits, scale, np.clip(np.rint(-half - least / scale), -half, half - 1).astype(np.int64))

    @property
    def kind(self) -> Kind:
        """Of its codes."""
        return Kind.of_codes(self.bits)

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest code."""
        return self.kind.low, self.kind.high

    def encode(self, x: npt.ArrayLike) -> npt.NDArray[np.int8]:
        """sat(rne(w / scale + zero)) of weights [N, K]."""
        codes = np.rint(np.asarray(x, np.float64) / self.scale[:, None] + self.zero[:, None])
        found: npt.NDArray[np.int8] = np.clip(codes, self.kind.low, self.kind.high).astype(np.int8)
        return found

    def multiplied(self, codes: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        """What kernels multiply of codes [N, K]."""
        found: npt.NDArray[np.int8] = (codes.astype(np.int16) - self.zero[:, None]).astype(np.int8)
        return found

    @property
    def decoder(self) -> Affine:
        """scale * (code - zero)."""
        return Affine(self.scale[:, None], self.zero[:, None])
