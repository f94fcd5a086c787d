"""Quantizers that nothing but tests uses, each found through the registry: uneven levels, of 8 and of 16 bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.kinds import Kind
from lampq_tvm.network.pixels import layer_weight
from lampq_tvm.quantizers.asymmetric import AsymmetricWeights
from lampq_tvm.quantizers.protocol import Levels, Quantizer, find, quantizer
from lampq_tvm.quantizers.twin_log import TwinLogWeights


class _Nearest(Quantizer):
    """Codes of the nearest level."""

    def encode(self, x: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """The nearest level's code."""
        values = self.decoder.values(np.arange(1 << self.kind.bits))
        away = np.abs(np.asarray(x, np.float64)[..., None] - values)
        return away.argmin(-1).astype(np.uint8)


@quantizer("squares", "activations")
@dataclass(frozen=True)
class Squares(_Nearest):
    """Values largest * (code / last - 1/2)^2 * 4 of either sign, levels of 8 bits."""

    bits: int
    largest: float

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Squares]:
        """Fractions of the largest magnitude."""
        return [cls(bits, max(-low, high, 1e-6) * fraction) for fraction in fractions]

    @property
    def kind(self) -> Kind:
        """Of its codes."""
        return Kind.of_codes(self.bits)

    @property
    def decoder(self) -> Levels:
        """Levels -127 .. 127."""
        roots = np.linspace(-1, 1, 1 << self.bits)
        return Levels(np.rint(127 * np.sign(roots) * roots**2).astype(np.int8), self.largest / 127)


@quantizer("powers", "activations")
@dataclass(frozen=True)
class Powers(_Nearest):
    """Values largest * 2^-code, and 0 as the last code: levels of 16 bits, of which int8 would keep half."""

    bits: int
    largest: float

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Powers]:
        """Fractions of the largest value."""
        return [cls(bits, max(high, 1e-6) * fraction) for fraction in fractions]

    @property
    def kind(self) -> Kind:
        """Of its codes."""
        return Kind.of_codes(self.bits)

    @property
    def decoder(self) -> Levels:
        """Levels 0 .. 32512."""
        levels = np.rint(32512 * 0.5 ** np.arange(1 << self.bits))
        levels[-1] = 0
        return Levels(levels.astype(np.int16), self.largest / 32512)


def with_zero_points(calibration: Calibration) -> Calibration:
    """The calibration with weights below 8 bits that have zero points."""
    found = {}
    for layer, by_bits in calibration.weights.items():
        weight = layer_weight(calibration.model, layer)
        low, high = weight.min(1), 0.7 * weight.max(1)
        found[layer] = {b: AsymmetricWeights.of_range(low, high, b) if b < 8 else q for b, q in by_bits.items()}
    return dataclasses.replace(calibration, weights=found, codes={})


def with_quantizer(calibration: Calibration, name: str) -> Calibration:
    """The calibration with every input of a layer quantized by another quantizer of the registry, over the same range."""
    kind = find(name, "activations")
    found = {
        layer: {
            b: kind.candidates(float(q.values(-(1 << (b - 1)))), float(q.values((1 << (b - 1)) - 1)), b)[0]
            for b, q in by.items()
        }
        for layer, by in calibration.activations.items()
    }
    return dataclasses.replace(calibration, activations=found)


def with_levels(calibration: Calibration) -> Calibration:
    """The calibration with weights below 6 bits in powers of two, the others as they were."""
    found = {}
    for name, by_bits in calibration.weights.items():
        real = layer_weight(calibration.model, name)
        low, high = real.min(1), real.max(1)
        narrow = {b: TwinLogWeights.candidates(low, high, b)[b] for b in by_bits if b < 6}
        found[name] = {**by_bits, **narrow}
    return dataclasses.replace(calibration, weights=found, codes={})
