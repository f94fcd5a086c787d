"""PTX's types as NumPy's. Source: PTX ISA, 5.2 Types."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
UNSIGNED: dict[int, np.dtype[Any]] = {bits: np.dtype(f"u{bits // 8}") for bits in (8, 16, 32, 64)}
SIGNED: dict[int, np.dtype[Any]] = {bits: np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)}
TYPES: dict[str, np.dtype[Any]] = {
    **{f"{letter}{bits}": dtype for letter in "bu" for bits, dtype in UNSIGNED.items()},
    **{f"s{bits}": dtype for bits, dtype in SIGNED.items()},
    "f16": np.dtype(np.float16),
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
    "f16x2": np.dtype(np.uint32),  # two halves in a word; their meanings take it apart
    "pred": np.dtype(np.bool_),
}
# A whole access of a lane as one item; complex128 is NumPy's only item of 16 bytes that moves fast, its bits unchanged.
ITEMS: dict[int, np.dtype[Any]] = {
    **{bits // 8: dtype for bits, dtype in UNSIGNED.items()},
    16: np.dtype(np.complex128),
}


def bits_of(name: str) -> int:
    """Bits of a PTX type; a predicate counts as one."""
    return 1 if name == "pred" else TYPES[name].itemsize * 8


def is_float(name: str) -> bool:
    """Whether a PTX type is a floating-point type."""
    return name.startswith("f")


def is_signed(name: str) -> bool:
    """Whether a PTX type is a signed integer type."""
    return name.startswith("s")
