"""fma against exact rationals."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lampq_tvm.oracle.fma import fma32
from tests.examples import quick_examples

BIG, EMIN = 2.0**128, -149
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
near_one = st.builds(lambda m, e: float(np.float32(math.ldexp(m, e))), st.integers(1 << 23, 1 << 24), st.integers(-24, -20))
powers = st.builds(lambda e, s: float(np.float32(s * 2.0**e)), st.integers(-149, 100), st.sampled_from((-1, 1)))


def round_to_float32(x: Fraction) -> float:
    """Nearest float32, ties to even, by integer arithmetic."""
    if x == 0:
        return 0.0
    magnitude = abs(x)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if Fraction(2) ** exponent > magnitude:
        exponent -= 1
    unit = Fraction(2) ** max(exponent - 23, EMIN)
    rounded = float(round(magnitude / unit) * unit)  # Python rounds rationals half to even
    return math.copysign(math.inf if rounded >= BIG else rounded, x)


def check(a: float, b: float, c: float) -> None:
    assert fma32(a, b, c) == round_to_float32(Fraction(a) * Fraction(b) + Fraction(c))


@given(floats, floats, floats)
def test_any_operands(a, b, c):
    check(a, b, c)


@quick_examples(400)
@given(near_one, near_one, powers)
def test_sums_that_round_twice(a, b, c):
    check(a, b, c)


@given(st.integers(-(2**31), 2**31), floats, floats)
def test_sums_of_codes(acc, m, c):
    check(float(np.float32(acc)), m, c)


def test_double_rounding_is_avoided():
    x = np.float32(1 + 2.0**-12)
    assert float(fma32(x, x, np.float32(2.0**-80))) == 1 + 2.0**-11 + 2.0**-23
    assert float(fma32(x, x, np.float32(-(2.0**-80)))) == 1 + 2.0**-11
    assert float(fma32(x, x, np.float32(0))) == 1 + 2.0**-11  # a true tie goes to even


def test_ends_of_the_range():
    tiny, huge = np.float32(2.0**-149), np.finfo(np.float32).max
    assert fma32(tiny, np.float32(0.5), tiny) == np.float32(2.0**-148)  # 1.5 units, a tie, to even
    assert fma32(tiny, np.float32(0.5), np.float32(0)) == 0
    assert np.isinf(fma32(huge, np.float32(2), np.float32(0)))
    assert np.isinf(fma32(np.float32(np.inf), np.float32(1), np.float32(-1)))


def test_broadcasts_and_keeps_float32():
    out = fma32(np.ones((3, 1), np.float32), np.arange(4, dtype=np.float32), np.float32(1))
    assert out.dtype == np.float32 and out.shape == (3, 4)
    assert out[0].tolist() == [1, 2, 3, 4]
