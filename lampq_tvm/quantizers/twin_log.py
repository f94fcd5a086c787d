"""Weights in powers of two on both sides of zero, finest where most weights lie (LRQ-DiT, 2025).

Published codes round log2(|w| + eta) and keep values more than they hold: 2^(b-1) magnitudes or more on each side, and an exact
zero. Here one side has one magnitude less, so that there are 2^b levels with zero among them, which are whole numbers of 8
bits, and a weight takes the nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kinds import Kind
from lampq_tvm.quantizers.protocol import Levels, Quantizer, quantizer

if TYPE_CHECKING:
    from typing_extensions import Self

WIDEST = 7
TOP = 127
ETAS = (0.0, 0.001, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.2, 0.5, 1.0)  # I&S-ViT's grid
SMALLEST = 1e-12  # scale


@quantizer("twin_log", "weights")
@dataclass(frozen=True, eq=False)
class TwinLogWeights(Quantizer):
    """w is about scale * levels[code + 2^(bits-1)] for weights [N, K].

    Kernels multiply the levels, which are bytes; payloads hold codes and, once a layer, the levels.

    Attributes:
        bits: width of the codes, -2^(bits-1) .. 2^(bits-1)-1.
        scale: [N], of a level.
        levels: [2^bits] int8, rising.
    """

    bits: int
    scale: npt.NDArray[Any]
    levels: npt.NDArray[np.int8]

    def __post_init__(self) -> None:
        if self.bits > WIDEST:
            hint = f"use at most {WIDEST} bits, or symmetric weights"
            raise UnsupportedError(f"{self.bits} bits hold every whole number that a level can be", hint=hint)

    @classmethod
    def candidates(
        cls, low: npt.NDArray[Any], high: npt.NDArray[Any], bits: int, fractions: Sequence[float] = (1.0,)
    ) -> list[Self]:
        """Every eta with every fraction of the rows' reach."""
        reach = np.maximum(np.maximum(-low, high).astype(np.float64), SMALLEST * TOP)
        return [cls(bits, reach * f / TOP, twin_levels(bits, eta)) for eta in ETAS for f in fractions]

    @property
    def kind(self) -> Kind:
        """Of its codes."""
        return Kind.of_codes(self.bits)

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest code."""
        return self.kind.low, self.kind.high

    @property
    def zero(self) -> npt.NDArray[np.int64]:
        """[N] zeros: what is multiplied for the weight 0."""
        return np.zeros(len(self.scale), np.int64)

    def encode(self, x: npt.ArrayLike) -> npt.NDArray[np.int8]:
        """Codes of the levels nearest to weights [N, K]."""
        ends = (self.levels[1:].astype(np.float64) + self.levels[:-1]) / 2
        found: npt.NDArray[np.int8] = (
            np.searchsorted(ends, np.asarray(x, np.float64) / self.scale[:, None]) - (1 << (self.bits - 1))
        ).astype(np.int8)
        return found

    def multiplied(self, codes: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        """What kernels multiply of codes [N, K]."""
        return self.levels[codes.astype(np.int64) + (1 << (self.bits - 1))]

    @property
    def decoder(self) -> Levels:
        """Its levels, for the first row."""
        return Levels(self.levels, float(self.scale[0]))

    def values(self, codes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """scale * levels[code]."""
        return np.asarray(self.scale[:, None] * self.multiplied(np.asarray(codes, np.int8)).astype(np.float64))


def twin_levels(bits: int, eta: float) -> npt.NDArray[np.int8]:
    """[2^bits] int8, rising: 127 ((1 + eta) 2^-j - eta), j = 0, 1, .. on both sides, rounded, and 0.

    >>> twin_levels(3, 0.0).tolist()
    [-127, -64, -32, -16, 0, 32, 64, 127]
    """
    half = 1 << (bits - 1)
    found = np.rint(TOP * ((1 + eta) * np.exp2(-np.arange(half, dtype=np.float64)) - eta)).clip(0)
    return np.concatenate([-found, [0], found[: half - 1][::-1]]).astype(np.int8)
