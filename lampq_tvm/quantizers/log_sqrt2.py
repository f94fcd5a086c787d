"""Powers of the square root of two: fine where probabilities are small (RepQ-ViT, ICCV 2023).

Published code keeps 2^bits powers and masks what lies below them to an exact zero, which is one value more than the codes
hold; here the last code stands for 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from lampq_tvm.quantizers.logarithmic import FixedPowers
from lampq_tvm.quantizers.protocol import quantizer


@quantizer("log_sqrt2", "probabilities")
@dataclass(frozen=True)
class LogSqrt2(FixedPowers):
    """x >= 0 is about largest * 2^(-code / 2), codes 0 .. 2^bits - 1, the last one standing for 0."""

    @property
    def step(self) -> float:
        """Half a power of two."""
        return 0.5
