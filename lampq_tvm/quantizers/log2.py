"""Powers of two, which a kernel of shifts could multiply (FQ-ViT, IJCAI 2022).

Levels are whole numbers up to 255, so at 4 bits the powers below 2^-8 of the largest value become 0: 9 of 16 codes differ.
"""

from __future__ import annotations

from dataclasses import dataclass

from lampq_tvm.quantizers.logarithmic import FixedPowers
from lampq_tvm.quantizers.protocol import quantizer


@quantizer("log2", "probabilities")
@dataclass(frozen=True)
class Log2(FixedPowers):
    """x >= 0 is about largest * 2^-code, codes 0 .. 2^bits - 1, the last one standing for 0."""

    @property
    def step(self) -> float:
        """A power of two."""
        return 1.0
