"""Kinds of numbers: what a code, a weight or a value is made of, and how wide it is."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(str, enum.Enum):
    """A kind of numbers; as text it is its name, so it can stand in JSON.

    Codes are signed integers of 2 to 8 bits, each in a byte of memory unless a kernel packs them; int16 holds what a table of
    wide levels gives.

    >>> Kind.of_codes(4), Kind("float16").bits, str(Kind.INT8)
    (<Kind.INT4: 'int4'>, 16, 'int8')
    """

    INT2 = "int2"
    INT3 = "int3"
    INT4 = "int4"
    INT5 = "int5"
    INT6 = "int6"
    INT7 = "int7"
    INT8 = "int8"
    INT16 = "int16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"

    @classmethod
    def of_codes(cls, bits: int) -> Kind:
        """Integers of a width.

        Raises:
            ValueError: there are none.
        """
        return cls(f"int{bits}")

    @property
    def is_float(self) -> bool:
        """Whether they are floats."""
        return self.value.startswith("float")

    @property
    def bits(self) -> int:
        """Width of a number."""
        return int(self.value.lstrip("intfloa"))

    @property
    def low(self) -> int:
        """Smallest integer."""
        return -(1 << (self.bits - 1))

    @property
    def high(self) -> int:
        """Largest integer."""
        return (1 << (self.bits - 1)) - 1

    @property
    def dtype(self) -> str:
        """Name of the array type that holds them: integers of up to 8 bits take a byte each."""
        return "int8" if not self.is_float and self.bits <= 8 else self.value

    def __str__(self) -> str:
        return self.value


PLAN_FLOAT_BITS = 16  # what a plan file calls float16


def as_kind(given: Kind | int) -> Kind:
    """A kind, or that of integer codes of so many bits.

    >>> as_kind(8), as_kind(Kind.FLOAT16)
    (<Kind.INT8: 'int8'>, <Kind.FLOAT16: 'float16'>)
    """
    return given if isinstance(given, Kind) else Kind.of_codes(given)


def of_width(bits: int) -> Kind:
    """The kind that a plan file means by a width: 16 is float16.

    >>> of_width(16), of_width(3)
    (<Kind.FLOAT16: 'float16'>, <Kind.INT3: 'int3'>)
    """
    return Kind.FLOAT16 if bits == PLAN_FLOAT_BITS else Kind.of_codes(bits)


@dataclass(frozen=True)
class Encode:
    """How values, in units of codes, are stored: the one record that every producer of codes takes.

    Attributes:
        grid: sat(rne(value)) is a code of it; of float16 the value itself, rounded and clamped to +-65504.
        table: kind of the entries of a table [256] that is looked up at (8-bit code + 128), and whose entry is stored instead.
    """

    grid: Kind
    table: Kind | None = None

    def __post_init__(self) -> None:
        if self.table is not None and self.grid is not Kind.INT8:
            raise ValueError(f"a table is looked up at codes of 8 bits, not of {self.grid}")

    @property
    def stored(self) -> Kind:
        """What is stored."""
        return self.grid if self.table is None else self.table
