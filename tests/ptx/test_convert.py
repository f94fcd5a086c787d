import pytest
from hypothesis import given

from tests.examples import quick_examples
from tests.ptx import floats
from tests.ptx.asm import Bench, Case, integers, signed

INTS = [f"{letter}{bits}" for letter in "us" for bits in (8, 16, 32, 64)]
FLOATS = ("f16", "f32", "f64")
MODES = {"rni": "rn", "rzi": "rz", "rmi": "rm", "rpi": "rp"}


def register(kind):
    return max(int(kind[1:]), 16)


def read(bits, kind):
    """What an operand's low bits mean as an integer."""
    return signed(bits, int(kind[1:])) if kind[0] == "s" else bits & (1 << int(kind[1:])) - 1


def span(kind):
    bits = int(kind[1:])
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if kind[0] == "s" else (0, (1 << bits) - 1)


def clamp(x, kind):
    low, high = span(kind)
    return max(low, min(high, x))


def to_integer(bits, of, to, mode):
    sign, number = floats.split(bits, int(of[1:]))
    if number == "nan":
        return 0
    if number == "inf":
        return span(to)[0 if sign else 1]
    return clamp(floats.whole(number, MODES[mode]), to)


def to_whole(bits, width, mode):
    sign, number = floats.split(bits, width)
    if isinstance(number, str):
        return floats.join(number, width, zero_sign=sign)
    return floats.join(floats.Fraction(floats.whole(number, MODES[mode])), width, zero_sign=sign)


def to_float(bits, of, to, mode):
    sign, number = floats.split(bits, int(of[1:]))
    return floats.join(number, int(to[1:]), mode, sign)


def integer_cases():
    for to in INTS:
        for of in INTS:
            widths = (register(to), register(of))
            yield Case(f"cvt.{to}.{of} %0, %1;", widths, lambda a, o=of, t=to: read(read(a, o), t))
            if any(clamp(edge, to) != edge for edge in span(of)):  # elsewhere PTX has no .sat
                yield Case(f"cvt.sat.{to}.{of} %0, %1;", widths, lambda a, o=of, t=to: clamp(read(a, o), t))
    for bits in (4, 8):
        for letter in "su":
            text, kind = f"cvt.pack.sat.{letter}{bits}.s32.b32 %0, %1, %2, %3;", f"{letter}{bits}"
            yield Case(text, (32,) * 4, lambda a, b, c, k=kind, w=bits: c << 2 * w | pair(a, b, k, w))
    for kind in ("s16", "u16"):
        yield Case(f"cvt.pack.sat.{kind}.s32 %0, %1, %2;", (32,) * 3, lambda a, b, k=kind: pair(a, b, k, 16))


def pair(a, b, kind, width):
    low = (1 << width) - 1
    return (clamp(signed(a, 32), kind) & low) << width | clamp(signed(b, 32), kind) & low


def float_cases():
    for of in FLOATS:
        width = int(of[1:])
        for mode in MODES:
            for to in INTS:
                cut = lambda a, o=of, t=to, m=mode: to_integer(a, o, t, m)  # noqa: E731
                yield Case(f"cvt.{mode}.{to}.{of} %0, %1;", (register(to), width), cut)
            if width > 16:
                yield Case(f"cvt.{mode}.{of}.{of} %0, %1;", (width, width), lambda a, w=width, m=mode: to_whole(a, w, m))
    for to in FLOATS:
        for of in INTS:
            widths = (int(to[1:]), register(of))
            if to == "f16" and of[1:] == "64":
                continue
            modes = ("rn", "rz", "rm", "rp") if to == "f32" and of[1:] != "64" else ("rn",)
            for mode in modes:
                yield Case(f"cvt.{mode}.{to}.{of} %0, %1;", widths, lambda a, o=of, t=to, m=mode: number(read(a, o), t, m))
    for of, to, modes in (("f32", "f16", ("rn",)), ("f64", "f32", ("rn", "rz", "rm", "rp")), ("f64", "f16", ("rn",))):
        for mode in modes:
            widths = (int(to[1:]), int(of[1:]))
            yield Case(f"cvt.{mode}.{to}.{of} %0, %1;", widths, lambda a, o=of, t=to, m=mode: to_float(a, o, t, m))
    for of, to in (("f16", "f32"), ("f32", "f64"), ("f16", "f64")):
        yield Case(f"cvt.{to}.{of} %0, %1;", (int(to[1:]), int(of[1:])), lambda a, o=of, t=to: to_float(a, o, t, "rn"))
    yield Case("cvt.sat.f32.f32 %0, %1;", (32, 32), lambda a: floats.unit(a, 32))
    halves = "cvt.rn.f16x2.f32 %0, %1, %2;"
    yield Case(halves, (32,) * 3, lambda a, b: to_float(a, "f32", "f16", "rn") << 16 | to_float(b, "f32", "f16", "rn"))


def number(x, to, mode):
    return floats.join(floats.Fraction(x), int(to[1:]), mode)


@pytest.fixture(scope="module", params=[("sm_80", 12), ("sm_90", 13)])
def whole(request):
    return Bench(list(integer_cases()), *request.param)


@pytest.fixture(scope="module", params=[("sm_80", 12), ("sm_90", 13)])
def real(request):
    return Bench(list(float_cases()), *request.param)


@quick_examples(4)
@given(values=integers)
def test_integers(whole, values):
    whole.check(values)


@quick_examples(4)
@given(low=floats.patterns(32), high=floats.patterns(32), half=floats.patterns(16), values=integers)
def test_floats(real, low, high, half, values):
    real.check([h << 32 | v for v, h in zip(low, high, strict=True)] + [h << 32 | v for v, h in zip(half, high, strict=True)])
    real.check(values)
