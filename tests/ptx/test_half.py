import pytest
from hypothesis import given

from tests.examples import quick_examples
from tests.ptx import floats
from tests.ptx.asm import Bench, Case

OPERATIONS = {
    "add{}": (2, lambda a, b: floats.add(a, b, 16)),
    "sub{}": (2, lambda a, b: floats.add(a, b, 16, flip=1)),
    "mul{}": (2, lambda a, b: floats.mul(a, b, 16)),
    "add.sat{}": (2, lambda a, b: floats.unit(floats.add(a, b, 16), 16)),
    "fma.rn{}": (3, lambda a, b, c: floats.fma(a, b, c, 16)),
    "fma.rn.sat{}": (3, lambda a, b, c: floats.unit(floats.fma(a, b, c, 16), 16)),
    "neg{}": (1, lambda a: a ^ 0x8000),
    "abs{}": (1, lambda a: a & 0x7FFF),
    "min{}": (2, lambda a, b: floats.extreme(a, b, 16, True)),
    "max{}": (2, lambda a, b: floats.extreme(a, b, 16, False)),
    "max.NaN{}": (2, lambda a, b: floats.extreme(a, b, 16, False, strict=True)),
}


def both(says, *words):
    """A function of halves on both halves of words."""
    low, high = says(*(w & 0xFFFF for w in words)), says(*(w >> 16 for w in words))
    return high << 16 | low


def cases():
    for name, (count, says) in OPERATIONS.items():
        operands = ", ".join(f"%{i}" for i in range(count + 1))
        yield Case(f"{name.format('.f16')} {operands};", (16,) * (count + 1), says)
        yield Case(f"{name.format('.f16x2')} {operands};", (32,) * (count + 1), lambda *w, s=says: both(s, *w))
    relu = lambda a, b, c: positive(floats.fma(a, b, c, 16))  # noqa: E731
    yield Case("fma.rn.relu.f16x2 %0, %1, %2, %3;", (32,) * 4, lambda *w: both(relu, *w))


def positive(bits):
    return 0 if bits >> 15 else bits


@pytest.fixture(scope="module", params=[("sm_80", 12), ("sm_90", 13)])
def bench(request):
    return Bench(list(cases()), *request.param)


@quick_examples(10)
@given(low=floats.patterns(16), high=floats.patterns(16))
def test_halves_are_exact_rational_arithmetic_rounded_once(bench, low, high):
    bench.check([h << 16 | v for v, h in zip(low, high, strict=True)])
