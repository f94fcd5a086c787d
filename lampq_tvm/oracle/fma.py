"""Fused multiply-add in float32, exact, from float64 operations that every machine has."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


def fma32(a: npt.ArrayLike, b: npt.ArrayLike, c: npt.ArrayLike) -> F32:
    """a * b + c with one rounding to float32, ties to even; operands are float32 and broadcast.

    The product of two float32 is exact in float64. Its sum with c is rounded to odd there (Boldo and Melquiond,
    "Emulation of FMA and correctly rounded sums", IEEE Trans. Computers 57(4), 2008), after which the rounding to
    float32 is the rounding of the exact value. Rounding the float64 sum directly would round twice.

    >>> x = np.float32(1 + 2.0**-12)
    >>> fma32(x, x, np.float32(2.0**-80)) == np.float32(np.float64(x) * x + 2.0**-80)
    np.False_
    """
    product = np.multiply(np.asarray(a, np.float32), np.asarray(b, np.float32), dtype=np.float64)
    with np.errstate(over="ignore"):
        return np.asarray(odd_sum(product, np.asarray(c, np.float32).astype(np.float64)).astype(np.float32))


def odd_sum(a: F64, b: F64) -> F64:
    """a + b in float64, rounded to odd: inexact sums end in a one, so a later rounding to fewer bits sees the exact value."""
    total = np.asarray(a + b)
    with np.errstate(invalid="ignore"):  # an infinite sum has no error
        back = total - a
        error = np.asarray((a - (total - back)) + (b - back))
    bits = total.view(np.int64)
    inexact = np.isfinite(error) & (error != 0) & (bits & 1 == 0)
    towards = np.where((error > 0) == (total > 0), np.int64(1), np.int64(-1))
    return np.where(inexact, bits + towards, bits).view(np.float64)
