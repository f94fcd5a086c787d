"""Uniform codes of activations: a scale and a zero point."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ActQuantizer:
    """Uniform quantizer of an activation: x is about scale * (code - zero), code in -2^(bits-1) .. 2^(bits-1)-1."""

    bits: int
    scale: float
    zero: int

    @property
    def low(self) -> int:
        """Smallest code."""
        return -(1 << (self.bits - 1))

    @property
    def high(self) -> int:
        """Largest code."""
        return (1 << (self.bits - 1)) - 1
