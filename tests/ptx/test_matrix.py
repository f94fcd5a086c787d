"""Matrices of a warp, element by element as the manual's tables place them."""

import numpy as np
import pytest

from lampq_tvm.ptx import KernelError
from tests.ptx.cuda import AT, compiled, run, words

LDMATRIX = """
extern "C" __global__ void k(const unsigned* in, const unsigned* rows, unsigned* out) {
  __shared__ __align__(16) unsigned s[2][256];
  int t = threadIdx.x, lane = t & 31, w = t / 32; unsigned r[4] = {0, 0, 0, 0};
  for (int i = lane; i < 256; i += 32) s[w][i] = in[w * 256 + i];
  __syncthreads();
  asm volatile("ldmatrix.sync.aligned.m8n8.xCOUNT.shared.b16 {REGISTERS}, [%4];"
    : "+r"(r[0]), "+r"(r[1]), "+r"(r[2]), "+r"(r[3]) : "r"(at(&s[w][rows[t] * 4])));
  for (int i = 0; i < 4; i++) out[i * 64 + t] = r[i];
}"""


@pytest.mark.parametrize("trans", ["", ".trans"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_ldmatrix(count, trans):
    text = LDMATRIX.replace("COUNT", f"{count}{trans}").replace("REGISTERS", ", ".join(f"%{i}" for i in range(count)))
    module = compiled(AT + text, "sm_75", 12)
    rng = np.random.default_rng(count)
    data, rows = words(rng, 2, 256), rng.integers(0, 64, 64).astype(np.uint32)
    found = run(module, [data, rows, np.zeros((4, 64), np.uint32)], block=(64, 1, 1))[2]
    halves = data.view(np.uint16).reshape(2, 64, 8)
    for thread in range(64):
        warp, lane = divmod(thread, 32)
        for j in range(count):
            for element in range(2):
                row, column = lane // 4, lane % 4 * 2 + element
                if trans:
                    row, column = column, row
                expected = halves[warp, rows[warp * 32 + 8 * j + row], column]
                assert found[j, thread] >> 16 * element & 0xFFFF == expected


@pytest.mark.parametrize("trans", ["", ".trans"])
def test_stmatrix(trans):
    text = (
        AT
        + f"""extern "C" __global__ void k(const unsigned* in, unsigned* out) {{ __shared__ __align__(16) unsigned s[128];
      int t = threadIdx.x;
      asm volatile("stmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 [%0], {{%1, %2, %3, %4}};"
        :: "r"(at(&s[t * 4])), "r"(in[t]), "r"(in[32 + t]), "r"(in[64 + t]), "r"(in[96 + t]));
      for (int i = t; i < 128; i += 32) out[i] = s[i]; }}"""
    )
    data = words(np.random.default_rng(5), 4, 32)
    found = run(compiled(text, "sm_90", 13), [data, np.zeros(128, np.uint32)])[1].view(np.uint16).reshape(4, 8, 8)
    for matrix in range(4):
        for lane in range(32):
            for element in range(2):
                row, column = lane // 4, lane % 4 * 2 + element
                row, column = (column, row) if trans else (row, column)
                assert found[matrix, row, column] == data[matrix, lane] >> 16 * element & 0xFFFF


# Rows, depth, type of A and B, type of C and D.
PRODUCTS = [
    *((16, 32, a, b, "s32", s) for a in ("s8", "u8") for b in ("s8", "u8") for s in ("", ".satfinite")),
    *((16, 64, a, b, "s32", "") for a in ("s4", "u4") for b in ("s4", "u4")),
    *((16, 16, "s8", "s8", "s32", ""), (16, 32, "s4", "s4", "s32", ".satfinite")),
    *((8, 16, "s8", "u8", "s32", ""), (8, 32, "u4", "s4", "s32", ".satfinite")),
    *((16, 16, "f16", "f16", c, "") for c in ("f16", "f32")),
    (16, 8, "f16", "f16", "f32", ""),
]


def element(registers, lane, index, kind):
    """Element `index` of a lane's fragment, whose registers hold them from the low bits up."""
    bits = int(kind[1:])
    each = 32 // bits
    raw = int(registers[index // each, lane]) >> index % each * bits & (1 << bits) - 1
    if kind[0] == "f":
        return float(np.array(raw, f"u{bits // 8}").view(f"f{bits // 8}"))
    return raw - (1 << bits) if kind[0] == "s" and raw >> bits - 1 else raw


def matrices(a, b, rows, depth, kinds):
    """A and B of one warp by the manual's formulas: groups of 4 lanes, runs of elements that fill a word."""
    left, right = np.zeros((rows, depth)), np.zeros((depth, 8))
    each = 32 // int(kinds[0][1:])
    for lane in range(32):
        group, member = lane >> 2, lane % 4
        for i in range(rows * depth // 32):
            row = group + (8 if rows == 16 and i // each % 2 else 0)
            column = member * each + i % each + 4 * each * (i // (each * rows // 8))
            left[row, column] = element(a, lane, i, kinds[0])
        for i in range(depth * 8 // 32):
            right[member * each + i % each + 4 * each * (i // each), group] = element(b, lane, i, kinds[1])
    return left, right


@pytest.mark.parametrize(("rows", "depth", "akind", "bkind", "ckind", "saturate"), PRODUCTS)
def test_mma(rows, depth, akind, bkind, ckind, saturate):
    bits = int(akind[1:])
    na, nb, nc = rows * depth * bits // 1024, depth * 8 * bits // 1024, rows * 8 * int(ckind[1:]) // 1024
    place = [f"%{i}" for i in range(2 * nc + na + nb)]
    parts = [place[:nc], place[nc : nc + na], place[nc + na : nc + na + nb], place[nc + na + nb :]]
    mnemonic = f"mma.sync.aligned.m{rows}n8k{depth}.row.col{saturate}.{ckind}.{akind}.{bkind}.{ckind}"
    operands = ", ".join("{" + ", ".join(p) + "}" for p in parts)
    inputs = ", ".join(f'"r"(in[{i * 64} + t])' for i in range(na + nb + nc))
    outputs = ", ".join(f'"=r"(r[{i}])' for i in range(nc))
    store = " ".join(f"out[{i * 64} + t] = r[{i}];" for i in range(nc))
    text = f"""extern "C" __global__ void k(const unsigned* in, unsigned* out) {{ int t = threadIdx.x; unsigned r[4];
      asm volatile("{mnemonic} {operands};" : {outputs} : {inputs}); {store} }}"""
    module = compiled(text, "sm_80" if rows == 16 else "sm_75", 12)
    rng = np.random.default_rng(rows + depth)
    for extreme in (False, True):
        data = operands_for(rng, akind, ckind, na + nb, nc, extreme)
        found = run(module, [data, np.zeros((nc, 64), np.uint32)], block=(64, 1, 1))[1]
        for warp in (slice(0, 32), slice(32, 64)):
            a, b, c = data[:na, warp], data[na : na + nb, warp], data[na + nb :, warp]
            left, right = matrices(a, b, rows, depth, (akind, bkind))
            product = left @ right
            for lane in range(32):
                for i in range(rows * 8 // 32):
                    exact = product[(lane >> 2) + 8 * (i // 2), lane % 4 * 2 + i % 2] + element(c, lane, i, ckind)
                    got = element(found[:, warp], lane, i, ckind)
                    assert got == finish(exact, ckind, saturate)


def operands_for(rng, akind, ckind, inputs, sums, extreme):
    """Any bits for integers; halves of a few bits, whose sums are exact; sums near the end of their range if `extreme`."""
    if akind != "f16":
        c = rng.integers(2**31 - 9, 2**31 + 9, (sums, 64)).astype(np.uint32) if extreme else words(rng, sums, 64)
        return np.concatenate([words(rng, inputs, 64), c])
    halves = (rng.integers(-8, 9, (inputs, 64, 2)) / 8).astype(np.float16).view(np.uint32)[..., 0]
    numbers = rng.integers(-64, 65, (sums, 64, 32 // int(ckind[1:]))) / 8
    return np.concatenate([halves, numbers.astype(f"f{int(ckind[1:]) // 8}").view(np.uint32)[..., 0]])


def finish(exact, kind, saturate):
    if kind[0] == "f":
        return float(np.float64(exact).astype(f"f{int(kind[1:]) // 8}"))
    exact = int(exact)
    return max(-(2**31), min(2**31 - 1, exact)) if saturate else (exact + 2**31) % 2**32 - 2**31


WMMA = {"m16n16k16": (16, 16), "m32n8k16": (32, 8), "m8n32k16": (8, 32)}


@pytest.mark.parametrize("majors", ["row.col", "col.row"])
@pytest.mark.parametrize("kinds", [("s8", "s8", "s32"), ("u8", "u8", "s32"), ("f16", "f16", "f32"), ("f16", "f16", "f16")])
@pytest.mark.parametrize("shape", WMMA)
def test_wmma(shape, kinds, majors):
    m, n = WMMA[shape]
    akind, _, ckind = kinds
    amajor, bmajor = majors.split(".")
    counts = (8, 8) if akind == "f16" else (m * 4 // 32, n * 4 // 32)
    sums = 4 if ckind == "f16" else 8
    regs = [", ".join(f"x{part}_{i}" for i in range(k)) for part, k in zip("abcd", (*counts, sums, sums), strict=True)]
    declare = f".reg .b32 {regs[0]}, {regs[1]}; .reg .{'f32' if ckind == 'f32' else 'b32'} {regs[2]}, {regs[3]};"
    types = f"{ckind}.{ckind}" if akind == "f16" else f"{ckind}.{akind}.{akind}.{ckind}"
    pointers, strides = "const char* a, const char* b, const char* c, char* d", "int sa, int sb, int sc, int sd"
    text = f"""extern "C" __global__ void k({pointers}, {strides}) {{
      asm volatile("{{ {declare}"
        "wmma.load.a.sync.aligned.{amajor}.{shape}.global.{akind} {{{regs[0]}}}, [%0], %4;"
        "wmma.load.b.sync.aligned.{bmajor}.{shape}.global.{akind} {{{regs[1]}}}, [%1], %5;"
        "wmma.load.c.sync.aligned.row.{shape}.global.{ckind} {{{regs[2]}}}, [%2], %6;"
        "wmma.mma.sync.aligned.{majors}.{shape}.{types} {{{regs[3]}}}, {{{regs[0]}}}, {{{regs[1]}}}, {{{regs[2]}}};"
        "wmma.store.d.sync.aligned.col.{shape}.global.{ckind} [%3], {{{regs[3]}}}, %7; }}"
        :: "l"(a), "l"(b), "l"(c), "l"(d), "r"(sa), "r"(sb), "r"(sc), "r"(sd) : "memory"); }}"""
    module = compiled(text, "sm_72", 12)
    rng = np.random.default_rng(m)
    make = {"s8": np.int8, "u8": np.uint8, "f16": np.float16, "f32": np.float32, "s32": np.int32}
    low, high = (-128, 128) if akind == "s8" else (0, 256) if akind == "u8" else (-8, 9)
    a, b = (rng.integers(low, high, s).astype(make[akind]) for s in ((m, 16), (16, n)))
    c = rng.integers(-99, 99, (m, n)).astype(make[ckind])
    stored = [a if amajor == "row" else a.T, b if bmajor == "row" else b.T, c, np.zeros((n, m), make[ckind])]
    stored = [pad(matrix) for matrix in stored]
    found = run(module, stored, [x.shape[1] for x in stored])[3]
    exact = a.astype(np.int64) @ b.astype(np.int64) + c.astype(np.int64)
    assert np.array_equal(found[:, :m].T, exact.astype(make[ckind]))
    with pytest.raises(KernelError, match="misaligned"):
        run(module, stored, [stored[0].shape[1] + 1, *(x.shape[1] for x in stored[1:])])


def pad(matrix):
    return np.ascontiguousarray(np.pad(matrix, ((0, 0), (0, 48 - matrix.shape[1]))))
