import pytest
from hypothesis import given

from tests.examples import quick_examples
from tests.ptx.asm import Bench, Case, integers, signed


def cases():
    for bits in (16, 32, 64):
        two = (bits, bits, bits)
        yield Case(f"and.b{bits} %0, %1, %2;", two, lambda a, b: a & b)
        yield Case(f"or.b{bits} %0, %1, %2;", two, lambda a, b: a | b)
        yield Case(f"xor.b{bits} %0, %1, %2;", two, lambda a, b: a ^ b)
        yield Case(f"not.b{bits} %0, %1;", two[:2], lambda a: ~a)
        yield Case(f"cnot.b{bits} %0, %1;", two[:2], lambda a: int(a == 0))
        yield Case(f"shl.b{bits} %0, %1, %2;", (bits, bits, 32), lambda a, n, w=bits: a << min(n, w))
        yield Case(f"shr.u{bits} %0, %1, %2;", (bits, bits, 32), lambda a, n, w=bits: a >> min(n, w))
        yield Case(f"shr.s{bits} %0, %1, %2;", (bits, bits, 32), lambda a, n, w=bits: signed(a, w) >> min(n, w))
    for bits in (32, 64):
        yield Case(f"popc.b{bits} %0, %1;", (32, bits), lambda a: a.bit_count())
        yield Case(f"clz.b{bits} %0, %1;", (32, bits), lambda a, w=bits: w - a.bit_length())
        yield Case(f"brev.b{bits} %0, %1;", (bits, bits), lambda a, w=bits: int(f"{a:0{w}b}"[::-1], 2))
        yield Case(f"bfind.u{bits} %0, %1;", (32, bits), lambda a: a.bit_length() - 1)
        yield Case(f"bfind.s{bits} %0, %1;", (32, bits), lambda a, w=bits: turned(a, w).bit_length() - 1)
        yield Case(f"bfind.shiftamt.s{bits} %0, %1;", (32, bits), lambda a, w=bits: shift_amount(turned(a, w), w))
        yield Case(f"bfe.u{bits} %0, %1, %2, %3;", (bits, bits, 32, 32), lambda a, b, c, w=bits: extract(a, b, c, w, False))
        yield Case(f"bfe.s{bits} %0, %1, %2, %3;", (bits, bits, 32, 32), lambda a, b, c, w=bits: extract(a, b, c, w, True))
        into = f"bfi.b{bits} %0, %1, %2, %3, %4;"
        yield Case(into, (bits, bits, bits, 32, 32), lambda a, b, c, d, w=bits: insert(a, b, c, d, w))
    word = (32, 32, 32, 32)
    for mode in ("wrap", "clamp"):
        yield Case(f"shf.l.{mode}.b32 %0, %1, %2, %3;", word, lambda a, b, c, m=mode: (b << 32 | a) << amount(c, m) >> 32)
        yield Case(f"shf.r.{mode}.b32 %0, %1, %2, %3;", word, lambda a, b, c, m=mode: (b << 32 | a) >> amount(c, m))
    yield Case("prmt.b32 %0, %1, %2, %3;", word, permute)
    for table in (0x8E, 0x00, 0xFF, 0x96, 0xE8, 0x2A):
        yield Case(f"lop3.b32 %0, %1, %2, %3, {table};", word, lambda a, b, c, t=table: lookup(a, b, c, t))


def amount(c, mode):
    return c & 31 if mode == "wrap" else min(c, 32)


def turned(a, width):
    return ~signed(a, width) if signed(a, width) < 0 else a


def shift_amount(a, width):
    return width - a.bit_length() if a else -1


def extract(a, b, c, width, is_signed):
    """The manual's loop: bit by bit, with the sign taken from the field's top bit."""
    start, size = b & 255, c & 255
    msb = width - 1
    sign = 0 if not is_signed or size == 0 else a >> min(start + size - 1, msb) & 1
    result = 0
    for i in range(width):
        bit = a >> (start + i) & 1 if i < size and start + i <= msb else sign
        result |= bit << i
    return result


def insert(a, b, c, d, width):
    start, size = c & 255, d & 255
    for i in range(size):
        if start + i < width:
            b = b & ~(1 << (start + i)) | (a >> i & 1) << (start + i)
    return b


def permute(a, b, c):
    stock = [(b << 32 | a) >> 8 * i & 255 for i in range(8)]
    result = 0
    for i in range(4):
        select = c >> 4 * i
        byte = stock[select & 7]
        result |= (255 * (byte >> 7) if select & 8 else byte) << 8 * i
    return result


def lookup(a, b, c, table):
    return sum((table >> ((a >> i & 1) * 4 + (b >> i & 1) * 2 + (c >> i & 1)) & 1) << i for i in range(32))


@pytest.fixture(scope="module", params=[("sm_75", 12), ("sm_90", 13)])
def bench(request):
    return Bench(list(cases()), *request.param)


@quick_examples(8)
@given(values=integers)
def test_every_lane_equals_plain_python(bench, values):
    bench.check(values)
