"""IEEE 754 in rational arithmetic: bits to fractions and back, with every rounding; NaNs come out canonical."""

import math
from fractions import Fraction

from hypothesis import strategies as st

# Bits of exponent and fraction, and the NaN that a GPU makes.
FORMATS = {16: (5, 10, 0x7FFF), 32: (8, 23, 0x7FFFFFFF), 64: (11, 52, 0x7FF8000000000000)}


def split(bits, width):
    """(sign, value): value is a Fraction, "inf" or "nan"."""
    exponent_bits, fraction_bits, _ = FORMATS[width]
    sign, rest = bits >> (width - 1) & 1, bits & (1 << (width - 1)) - 1
    exponent, fraction = rest >> fraction_bits, rest & (1 << fraction_bits) - 1
    if exponent == (1 << exponent_bits) - 1:
        return sign, "nan" if fraction else "inf"
    low = 2 - (1 << (exponent_bits - 1)) - fraction_bits
    whole = fraction if exponent == 0 else fraction | 1 << fraction_bits
    value = Fraction(whole) * Fraction(2) ** (low + max(exponent - 1, 0))
    return sign, -value if sign else value


def whole(value, mode):
    """A fraction to an integer: rn, rz, rm, rp."""
    if mode == "rn":
        return round(value)
    return {"rz": math.trunc, "rm": math.floor, "rp": math.ceil}[mode](value)


def join(value, width, mode="rn", zero_sign=0):
    """A fraction (or "inf" with its sign, or "nan") to bits; `zero_sign` is the sign if the exact value is zero."""
    exponent_bits, fraction_bits, nan = FORMATS[width]
    top = (1 << exponent_bits) - 1 << fraction_bits
    if value == "nan":
        return nan
    if value == "inf":
        return zero_sign << (width - 1) | top
    if value == 0:
        return zero_sign << (width - 1)
    sign, low = int(value < 0), 2 - (1 << (exponent_bits - 1)) - fraction_bits
    exponent = math.floor(math.log2(abs(value.numerator)) - math.log2(value.denominator)) - 1
    while abs(value) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    quantum = max(exponent - fraction_bits, low)
    count = abs(whole(value / Fraction(2) ** quantum, mode))
    bits = count + (quantum - low << fraction_bits)  # a carry out of the fraction grows the exponent, as it should
    if bits >= top:
        away = mode == "rn" or mode == ("rm" if sign else "rp")
        bits = top if away else top - 1
    return sign << (width - 1) | bits


def add(a, b, width, mode="rn", flip=0):
    """a + b, or a - b with `flip`."""
    (sa, x), (sb, y) = split(a, width), split(b, width)
    return total(sa, x, sb ^ flip, negated(y) if flip else y, width, mode)


def total(sa, x, sb, y, width, mode):
    if "nan" in (x, y) or (x == y == "inf" and sa != sb):
        return join("nan", width)
    if "inf" in (x, y):
        return join("inf", width, zero_sign=sa if x == "inf" else sb)
    both = sa if x == y == 0 and sa == sb else int(mode == "rm")
    return join(x + y, width, mode, both)


def mul(a, b, width, mode="rn"):
    sign, value = product(split(a, width), split(b, width))
    return join(value, width, mode, sign)


def product(one, other):
    (sa, x), (sb, y) = one, other
    if "nan" in (x, y) or ("inf" in (x, y) and 0 in (x, y)):
        return sa ^ sb, "nan"
    return sa ^ sb, "inf" if "inf" in (x, y) else x * y


def fma(a, b, c, width, mode="rn"):
    sign, value = product(split(a, width), split(b, width))
    return total(sign, value, *split(c, width), width, mode)


def div(a, b, width):
    (sa, x), (sb, y) = split(a, width), split(b, width)
    if "nan" in (x, y) or (x == y and x in (0, "inf")):
        return join("nan", width)
    if x == "inf" or y == 0:
        return join("inf", width, zero_sign=sa ^ sb)
    return join(Fraction(0) if y == "inf" else x / y, width, "rn", sa ^ sb)


def sqrt(a, width):
    sign, x = split(a, width)
    if x == 0 or x == "nan" or sign or x == "inf":
        return join("nan", width) if x == "nan" or (sign and x != 0) else a
    even = 2 * (x.denominator.bit_length() // 2 + 2 * width)  # scale by 4^n, take the integer root, keep a sticky bit
    scaled = x * Fraction(2) ** (2 * even)
    root = math.isqrt(scaled.numerator // scaled.denominator)
    exact = Fraction(root) if root * root == scaled else Fraction(2 * root + 1, 2)
    return join(exact / Fraction(2) ** even, width)


def extreme(a, b, width, smaller, strict=False):
    (sa, x), (sb, y) = split(a, width), split(b, width)
    if "nan" in (x, y):
        return join("nan", width) if strict or x == y else (b if x == "nan" else a)
    one, other = (order(sa, x), order(sb, y))
    return (a if one <= other else b) if smaller else (a if one >= other else b)


def order(sign, value):
    """A key that sorts -inf, numbers, -0 before 0, inf."""
    size = Fraction(10) ** 500 if value == "inf" else abs(value)
    return (-size if sign else size), -sign


def unit(bits, width):
    """`.sat`: clamped to 0..1, NaN to 0."""
    sign, value = split(bits, width)
    if value == "nan" or sign:
        return 0
    return bits if value != "inf" and value < 1 else join(Fraction(1), width)


def negated(value):
    return value if isinstance(value, str) else -value


def patterns(width):
    """Lists of bit patterns: edges, neighbours in exponent, anything."""
    exponent_bits, fraction_bits, _ = FORMATS[width]
    bias, top = (1 << (exponent_bits - 1)) - 1, (1 << exponent_bits) - 1
    one = bias << fraction_bits
    edges = [0, 1, 2, (1 << fraction_bits) - 1, 1 << fraction_bits, one, one - 1, one + 1]
    edges += [(top << fraction_bits) - 1, top << fraction_bits, top << fraction_bits | 1]
    edges += [top << fraction_bits | 1 << (fraction_bits - 1)]
    edges += [join(Fraction(n, 2), width) for n in (1, 3, 5, 7, 253, 255, 257, 511, 65535, 131071)]
    edges += [edge | 1 << (width - 1) for edge in edges]
    near = st.builds(
        lambda sign, exponent, fraction: sign << (width - 1) | bias + exponent << fraction_bits | fraction,
        st.integers(0, 1), st.integers(-14, 14), st.integers(0, (1 << fraction_bits) - 1),
    )  # fmt: skip
    return st.lists(st.sampled_from(edges) | near | st.integers(0, (1 << width) - 1), min_size=61, max_size=61)
