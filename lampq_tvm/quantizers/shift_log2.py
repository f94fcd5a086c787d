"""Powers of the root of two above the smallest value: what follows GELU (ADFQ-ViT, Neural Networks 2025).

The paper writes powers of two, its code takes their root, and so does this. The published shift is the minimum of each batch,
found when the model runs; here it is calibrated. Outliers that stay in float there have no counterpart here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lampq_tvm.quantizers.logarithmic import Shifted, shifted_range
from lampq_tvm.quantizers.protocol import quantizer

if TYPE_CHECKING:
    from typing_extensions import Self


@quantizer("shift_log2", "activations")
@dataclass(frozen=True)
class ShiftLog2(Shifted):
    """x + shift is about largest * 2^(-code / 2), the last code standing for 0."""

    clips_below: ClassVar[bool] = False
    bits: int
    largest: float
    shift: float

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Self]:
        """Fractions of the largest value."""
        return [cls(bits, *shifted_range(low, high * fraction)) for fraction in fractions]

    @property
    def step(self) -> float:
        """Half a power of two."""
        return 0.5
