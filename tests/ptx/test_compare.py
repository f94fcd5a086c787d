import operator

import pytest
from hypothesis import given

from tests.examples import quick_examples
from tests.ptx import floats
from tests.ptx.asm import Bench, Case, integers, signed

PLAIN = {"eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge}
UNSIGNED = {"lo": operator.lt, "ls": operator.le, "hi": operator.gt, "hs": operator.ge}
COMBINE = {"and": operator.and_, "or": operator.or_, "xor": operator.xor}
SETP = "{{ .reg .pred p, q, c; setp.ne.b32 c, %3, 0; setp.{}.{}.{} p|q, %1, %2, c;"
SETP += " selp.u32 %0, 1, 0, p; @q or.b32 %0, %0, 2; }}"
ONE = "{{ .reg .pred p; setp.{}.{} p, %1, %2; selp.u32 %0, 1, 0, p; }}"


def value(bits, kind):
    if kind[0] == "f":
        sign, number = floats.split(bits, int(kind[1:]))
        return None if number == "nan" else floats.order(sign, number)[0]
    return signed(bits, int(kind[1:])) if kind[0] == "s" else bits


def compare(name, a, b, kind):
    x, y = value(a, kind), value(b, kind)
    missing = x is None or y is None
    if name in ("num", "nan"):
        return missing == (name == "nan")
    if missing:
        return name.endswith("u")
    return {**PLAIN, **UNSIGNED}[name.removesuffix("u") if kind[0] == "f" else name](x, y)


def cases():
    for kind in ("u16", "s16", "u32", "s32", "u64", "s64", "f16", "f32", "f64"):
        width, names = int(kind[1:]), list(PLAIN)
        names += list(UNSIGNED) if kind[0] == "u" else []
        names += [f"{n}u" for n in PLAIN] + ["num", "nan"] if kind[0] == "f" else []
        for name in names:
            yield Case(ONE.format(name, kind), (32, width, width), lambda a, b, n=name, k=kind: int(compare(n, a, b, k)))
        for word, function in COMBINE.items() if kind != "f16" else ():

            def both(a, b, c, k=kind, f=function):
                yes = compare("lt", a, b, k)
                return int(f(yes, c != 0)) + 2 * int(f(not yes, c != 0))

            yield Case(SETP.format("lt", word, kind), (32, width, width, 32), both)
    yield Case("set.lt.u32.s32 %0, %1, %2;", (32, 32, 32), lambda a, b: -int(signed(a, 32) < signed(b, 32)))
    yield Case("set.gt.f32.u32 %0, %1, %2;", (32, 32, 32), lambda a, b: 0x3F800000 if a > b else 0)
    for width in (16, 32, 64):
        text = f"{{ .reg .pred p; setp.gt.s32 p, %3, 0; selp.b{width} %0, %1, %2, p; }}"
        yield Case(text, (width, width, width, 32), lambda a, b, c: a if signed(c, 32) > 0 else b)
    yield Case("slct.u32.s32 %0, %1, %2, %3;", (32, 32, 32, 32), lambda a, b, c: a if signed(c, 32) >= 0 else b)
    yield Case("slct.b64.f32 %0, %1, %2, %3;", (64, 64, 64, 32), lambda a, b, c: a if compare("ge", c, 0, "f32") else b)


@pytest.fixture(scope="module", params=[("sm_75", 12), ("sm_90", 13)])
def bench(request):
    return Bench(list(cases()), *request.param)


@quick_examples(4)
@given(values=integers)
def test_integers(bench, values):
    bench.check(values)


@quick_examples(4)
@given(low=floats.patterns(32), high=floats.patterns(32), half=floats.patterns(16))
def test_floats(bench, low, high, half):
    bench.check([h << 32 | v for v, h in zip(low, high, strict=True)] + [h << 32 | v for v, h in zip(half, high, strict=True)])
