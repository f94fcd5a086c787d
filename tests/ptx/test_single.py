from fractions import Fraction

import pytest
from hypothesis import given

from tests.examples import quick_examples
from tests.ptx import floats
from tests.ptx.asm import Bench, Case


def cases(bits):
    kind, one, two, three = f"f{bits}", (bits,) * 2, (bits,) * 3, (bits,) * 4
    for mode in ("rn", "rz", "rm", "rp") if bits == 32 else ("rn",):
        yield Case(f"add.{mode}.{kind} %0, %1, %2;", two, lambda a, b, m=mode: floats.add(a, b, bits, m))
        yield Case(f"sub.{mode}.{kind} %0, %1, %2;", two, lambda a, b, m=mode: floats.add(a, b, bits, m, flip=1))
        yield Case(f"mul.{mode}.{kind} %0, %1, %2;", two, lambda a, b, m=mode: floats.mul(a, b, bits, m))
        if bits == 32:
            yield Case(f"fma.{mode}.f32 %0, %1, %2, %3;", three, lambda a, b, c, m=mode: floats.fma(a, b, c, 32, m))
    yield Case(f"div.rn.{kind} %0, %1, %2;", two, lambda a, b: floats.div(a, b, bits))
    yield Case(f"rcp.rn.{kind} %0, %1;", one, lambda a: floats.div(floats.join(Fraction(1), bits), a, bits))
    yield Case(f"sqrt.rn.{kind} %0, %1;", one, lambda a: floats.sqrt(a, bits))
    yield Case(f"neg.{kind} %0, %1;", one, lambda a: a ^ 1 << bits - 1)
    yield Case(f"abs.{kind} %0, %1;", one, lambda a: a & ~(1 << bits - 1))
    sign = 1 << bits - 1
    yield Case(f"copysign.{kind} %0, %1, %2;", two, lambda a, b: a & sign | b & ~sign)
    for name in ("min", "max"):
        yield Case(f"{name}.{kind} %0, %1, %2;", two, lambda a, b, n=name: floats.extreme(a, b, bits, n == "min"))
        if bits == 32:
            strict = lambda a, b, n=name: floats.extreme(a, b, 32, n == "min", strict=True)  # noqa: E731
            yield Case(f"{name}.NaN.f32 %0, %1, %2;", two, strict)
    if bits == 32:
        yield Case("add.sat.f32 %0, %1, %2;", two, lambda a, b: floats.unit(floats.add(a, b, 32), 32))
        yield Case("fma.rn.sat.f32 %0, %1, %2, %3;", three, lambda a, b, c: floats.unit(floats.fma(a, b, c, 32), 32))


@pytest.fixture(scope="module", params=[("sm_80", 12), ("sm_90", 13)])
def single(request):
    return Bench(list(cases(32)), *request.param)


@pytest.fixture(scope="module")
def double():
    return Bench(list(cases(64)), "sm_87", 12)


@quick_examples(8)
@given(values=floats.patterns(32))
def test_float32_is_exact_rational_arithmetic_rounded_once(single, values):
    single.check(values)


@quick_examples(5)
@given(values=floats.patterns(64))
def test_float64_is_exact_rational_arithmetic_rounded_once(double, values):
    double.check(values)
