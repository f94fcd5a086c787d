import pytest
from hypothesis import given

from tests.examples import quick_examples
from tests.ptx.asm import Bench, Case, integers, signed

KINDS = [f"{letter}{bits}" for letter in "us" for bits in (16, 32, 64)]


def cases():
    for kind in KINDS:
        bits = int(kind[1:])
        read = (lambda x, bits=bits: signed(x, bits)) if kind[0] == "s" else int
        two, three = (bits,) * 3, (bits,) * 4
        yield Case(f"add.{kind} %0, %1, %2;", two, lambda a, b: a + b)
        yield Case(f"sub.{kind} %0, %1, %2;", two, lambda a, b: a - b)
        yield Case(f"mul.lo.{kind} %0, %1, %2;", two, lambda a, b: a * b)
        yield Case(f"mul.hi.{kind} %0, %1, %2;", two, lambda a, b, r=read, n=bits: r(a) * r(b) >> n)
        yield Case(f"mad.lo.{kind} %0, %1, %2, %3;", three, lambda a, b, c: a * b + c)
        yield Case(f"mad.hi.{kind} %0, %1, %2, %3;", three, lambda a, b, c, r=read, n=bits: (r(a) * r(b) >> n) + c)
        yield Case(f"min.{kind} %0, %1, %2;", two, lambda a, b, r=read: min(r(a), r(b)))
        yield Case(f"max.{kind} %0, %1, %2;", two, lambda a, b, r=read: max(r(a), r(b)))
        yield Case(f"sad.{kind} %0, %1, %2, %3;", three, lambda a, b, c, r=read: c + abs(r(a) - r(b)))
        yield Case(f"div.{kind} %0, %1, %2;", two, lambda a, b, r=read: quotient(r(a), r(b)))
        yield Case(f"rem.{kind} %0, %1, %2;", two, lambda a, b, r=read: r(a) - quotient(r(a), r(b)) * r(b) if b else a)
        if bits < 64:
            wide = (2 * bits, bits, bits, 2 * bits)
            yield Case(f"mul.wide.{kind} %0, %1, %2;", wide[:3], lambda a, b, r=read: r(a) * r(b))
            yield Case(f"mad.wide.{kind} %0, %1, %2, %3;", wide, lambda a, b, c, r=read: r(a) * r(b) + c)
        if kind[0] == "s":
            yield Case(f"abs.{kind} %0, %1;", two[:2], lambda a, r=read: abs(r(a)))
            yield Case(f"neg.{kind} %0, %1;", two[:2], lambda a: -a)
    word = (32, 32, 32)
    yield Case("add.sat.s32 %0, %1, %2;", word, lambda a, b: clamp(signed(a, 32) + signed(b, 32)))
    yield Case("sub.sat.s32 %0, %1, %2;", word, lambda a, b: clamp(signed(a, 32) - signed(b, 32)))
    high = "mad.hi.sat.s32 %0, %1, %2, %3;"
    yield Case(high, (*word, 32), lambda a, b, c: clamp((signed(a, 32) * signed(b, 32) >> 32) + signed(c, 32)))
    yield Case("mul24.lo.s32 %0, %1, %2;", word, lambda a, b: signed(a, 24) * signed(b, 24))
    yield Case("mad24.lo.u32 %0, %1, %2, %3;", (*word, 32), lambda a, b, c: (a & 0xFFFFFF) * (b & 0xFFFFFF) + c)
    for one in ("s32", "u32"):
        for other in ("s32", "u32"):
            for half, first in (("4a", 0), ("2a.lo", 0), ("2a.hi", 2)):
                text = f"dp{half}.{one}.{other} %0, %1, %2, %3;"
                yield Case(text, (*word, 32), lambda a, b, c, h=half, o=one, q=other, f=first: dot(a, b, c, h, o, q, f))


def quotient(a, b):
    if b == 0:
        return -1
    whole = abs(a) // abs(b)
    return whole if (a < 0) == (b < 0) else -whole


def clamp(x):
    return max(-(2**31), min(2**31 - 1, x))


def dot(a, b, c, form, one, other, first):
    width, count = (8, 4) if form == "4a" else (16, 2)
    for i in range(count):
        x, y = a >> width * i, b >> 8 * (i + first)
        x = signed(x, width) if one == "s32" else x & (1 << width) - 1
        y = signed(y, 8) if other == "s32" else y & 255
        c += x * y
    return c


@pytest.fixture(scope="module", params=[("sm_75", 12), ("sm_90", 13)])
def bench(request):
    return Bench(list(cases()), *request.param)


@quick_examples(8)
@given(values=integers)
def test_every_lane_equals_plain_python(bench, values):
    bench.check(values)
