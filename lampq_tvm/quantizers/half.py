"""float16: its values are codes of themselves."""

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

LARGEST = 65504.0


@quantizer("float16")  # a plan's width chooses it, no name
@dataclass(frozen=True)
class Float16(Quantizer):
    """Values rounded to float16, within +-65504."""

    @classmethod
    def candidates(cls, low: Any, high: Any, bits: int = 16, fractions: Sequence[float] = (1.0,)) -> list[Self]:
        """The one there is, whatever the range."""
        return [cls()]

    @property
    def kind(self) -> Kind:
        """Of its codes."""
        return Kind.FLOAT16

    def encode(self, x: npt.ArrayLike) -> npt.NDArray[np.float16]:
        """The nearest float16 values."""
        return np.clip(np.asarray(x, np.float64), -LARGEST, LARGEST).astype(np.float16)

    @property
    def decoder(self) -> Affine:
        """A code stands for itself."""
        return Affine(1.0)


@quantizer("float16_weights")
@dataclass(frozen=True, eq=False)
class HalfWeights(Quantizer):
    """Weights [N, K] in float16 with a scale for each row: a power of two that brings the largest to (1/2, 1].

    So no weight leaves float16, and rounding errors are at most 2^-11 of a weight, or 2^-25 of its channel's largest.

    Attributes:
        scale: [N].
    """

    scale: npt.NDArray[np.float64]

    @classmethod
    def candidates(
        cls, low: npt.NDArray[Any], high: npt.NDArray[Any], bits: int = 16, fractions: Sequence[float] = (1.0,)
    ) -> list[Self]:
        """That of the largest magnitudes [N]."""
        largest = np.maximum(-np.asarray(low, np.float64), high)
        return [cls(2.0 ** np.ceil(np.log2(np.where(largest > 0, largest, 1))))]

    @classmethod
    def of_rows(cls, weight: npt.NDArray[Any]) -> Self:
        """That of weights [N, K]."""
        return cls.candidates(weight.min(1), weight.max(1))[0]

    @property
    def kind(self) -> Kind:
        """Of its codes."""
        return Kind.FLOAT16

    def encode(self, x: npt.ArrayLike) -> npt.NDArray[np.float16]:
        """x / scale, rounded to float16."""
        return (np.asarray(x, np.float64) / self.scale[:, None]).astype(np.float16)

    @property
    def decoder(self) -> Affine:
        """scale * code."""
        return Affine(self.scale[:, None])
