"""Powers of two, which a kernel of shifts could multiply (FQ-ViT, IJCAI 2022).

Levels are whole numbers up to 255, so at 4 bits the powers below 2^-8 of the largest value become 0: 9 of 16 codes differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lampq_tvm.quantizers.logarithmic import Powers
from lampq_tvm.quantizers.protocol import quantizer

if TYPE_CHECKING:
    from typing_extensions import Self


@quantizer("log2", "probabilities")
@dataclass(frozen=True)
class Log2(Powers):
    """x >= 0 is about largest * 2^-code, codes 0 .. 2^bits - 1, the last one standing for 0."""

    bits: int
    largest: float = 1.0

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Self]:
        """Fractions of the largest value."""
        return [cls(bits, high * fraction) for fraction in fractions]

    @property
    def step(self) -> float:
        """A power of two."""
        return 1.0
