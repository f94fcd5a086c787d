"""What products with stored weights have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lampq_tvm.kinds import Kind


class Weighted:
    """An operator with weights `.w` [N, K]: what kernels multiply.

    Attributes:
        w: kind of their codes, as the payload stores them.
        offset: widths at which codes have a zero point a row, `.zero` [N] int8: then `.w` is code - zero, which takes a bit
            more than a code.
        tabled: widths at which codes stand for `.levels` [2^bits] int8, from the lowest code on: then `.w` are levels.
    """

    w: Kind
    offset: tuple[int, ...]
    tabled: tuple[int, ...]
    name: str

    @property
    def w_bits(self) -> int:
        """Width of the codes."""
        return self.w.bits

    @property
    def has_zeros(self) -> bool:
        """Whether there are zero points at this width."""
        return self.w.bits in self.offset

    @property
    def has_levels(self) -> bool:
        """Whether codes of this width stand for levels."""
        return self.w.bits in self.tabled

    @property
    def multiplied(self) -> Kind:
        """Kind of what kernels multiply."""
        if self.has_levels:
            return Kind.INT8
        return Kind.of_codes(self.w.bits + 1) if self.has_zeros else self.w

    @property
    def packed(self) -> Mapping[str, Kind]:
        """The weights."""
        return {"w": self.w}

    def weights(self, shape: list[int]) -> dict[str, Any]:
        """Where a recipe finds them in the payload, [N, K] = `shape`."""
        found = {"tensor": f"{self.name}.w", "bits": self.w.bits, "shape": shape}
        if self.has_levels:
            return {**found, "levels": f"{self.name}.levels"}
        return {**found, "zero": f"{self.name}.zero"} if self.has_zeros else found
