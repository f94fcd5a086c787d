"""Exchange between lanes against the manual's loops."""

import numpy as np
import pytest

from lampq_tvm.ptx import KernelError
from tests.ptx.cuda import compiled, run, words

SHUFFLE = """
extern "C" __global__ void k(const unsigned* a, const unsigned* b, const unsigned* c, unsigned* d) {
  int t = threadIdx.x; unsigned v, p;
%s}
"""
ONE = """  asm volatile("{ .reg .pred p; shfl.sync.%s.b32 %%0|p, %%2, %%3, %%4, 0xffffffff; selp.u32 %%1, 1, 0, p; }"
    : "=r"(v), "=r"(p) : "r"(a[t]), "r"(b[t]), "r"(c[t])); d[%d + t] = v; d[%d + t] = p;
"""
MODES = ("up", "down", "bfly", "idx")


def shuffled(mode, a, b, c):
    """The manual's pseudo code for one warp."""
    values, inside = [], []
    for lane in range(32):
        bval, cval, mask = b[lane] & 31, c[lane] & 31, c[lane] >> 8 & 31
        most, least = lane & mask | cval & ~mask, lane & mask
        j = {"up": lane - bval, "down": lane + bval, "bfly": lane ^ bval, "idx": least | bval & ~mask}[mode]
        good = j >= most if mode == "up" else j <= most
        values.append(a[j if good else lane])
        inside.append(int(good))
    return values, inside


@pytest.mark.parametrize(("arch", "major"), [("sm_75", 12), ("sm_90", 13)])
def test_shuffles(arch, major):
    text = SHUFFLE % "".join(ONE % (m, 128 * i, 128 * i + 64) for i, m in enumerate(MODES))
    module, rng = compiled(text, arch, major), np.random.default_rng(1)
    for _ in range(6):
        a, b = words(rng, 64), rng.integers(0, 32, 64).astype(np.uint32)
        clamp = rng.choice(np.array([0, 31, 0x1F1F, 0x1C1F, 0x181F, 0x1000, 7], np.uint32), 2).repeat(32)
        found = run(module, [a, b, clamp, np.zeros((4, 2, 64), np.uint32)], block=(64, 1, 1))[3]
        for i, mode in enumerate(MODES):
            for warp in range(2):
                part = slice(32 * warp, 32 * warp + 32)
                values, inside = shuffled(mode, *([int(x) for x in y[part]] for y in (a, b, clamp)))
                assert found[i, 0, part].tolist() == values
                assert found[i, 1, part].tolist() == inside


VOTES = """
extern "C" __global__ void k(const unsigned* a, unsigned* d) {
  int t = threadIdx.x; unsigned v = a[t] & 1, m = %s;
  if (m >> t %% 32 & 1) {
    d[t] = __ballot_sync(m, v); d[64 + t] = __all_sync(m, v); d[128 + t] = __any_sync(m, v); d[192 + t] = __uni_sync(m, v);
    d[256 + t] = __activemask(); %s __syncwarp(m);
  }
}
"""
REDUCE = """ unsigned r;
  asm volatile("redux.sync.%s %%0, %%1, %%2;" : "=r"(r) : "r"(a[t]), "r"(m)); d[%d + t] = r;"""
REDUX = ("add.u32", "min.u32", "max.u32", "min.s32", "max.s32", "and.b32", "or.b32", "xor.b32")


@pytest.mark.parametrize("mask", [0xFFFFFFFF, 0x0F0F1234])
def test_votes_and_reductions(mask):
    body = "".join("{" + REDUCE % (name, 320 + 64 * i) + "}" for i, name in enumerate(REDUX))
    module = compiled(VOTES % (f"{mask}u", body), "sm_87", 12)
    rng = np.random.default_rng(mask)
    for likely in (0, 1, 2):
        a = words(rng, 64) & ~np.uint32(likely == 0) | np.uint32(likely == 1)
        found = run(module, [a, np.zeros((13, 64), np.uint32)], block=(64, 1, 1))[1]
        members = [lane for lane in range(32) if mask >> lane & 1]
        for warp in (0, 32):
            bits = [int(a[warp + lane]) & 1 for lane in members]
            ballot = sum(bit << lane for bit, lane in zip(bits, members, strict=True))
            vote = [ballot, int(all(bits)), int(any(bits)), int(len(set(bits)) == 1), mask]
            values = [int(a[warp + lane]) for lane in members]
            plus = sum(values) % 2**32
            signs = [v - 2**32 if v >> 31 else v for v in values]
            ands = ors = xors = None
            for v in values:
                ands, ors, xors = (v, v, v) if ands is None else (ands & v, ors | v, xors ^ v)
            expected = [*vote, plus, min(values), max(values), min(signs) % 2**32, max(signs) % 2**32, ands, ors, xors]
            for lane in members:
                assert found[:, warp + lane].tolist() == expected


def test_a_lane_that_is_not_there_cannot_be_heard():
    text = 'extern "C" __global__ void k(int* d) { if (threadIdx.x < 16) d[threadIdx.x] = __shfl_sync(0xffffu, d[0], 20); }'
    with pytest.raises(KernelError, match="takes the value of lane 20"):
        run(compiled(text), [np.zeros(32, np.int32)])


def test_lanes_wait_for_their_mask():
    text = """extern "C" __global__ void k(int* d) { int v = threadIdx.x;
      if (v & 1) { for (int i = 0; i < v; i++) d[32 + v] += i; }
      d[v] = __shfl_xor_sync(0xffffffffu, v + d[32 + v], 1); }"""
    found = run(compiled(text), [np.zeros(64, np.int32)])[0]
    own = [v + (sum(range(v)) if v & 1 else 0) for v in range(32)]
    assert found[:32].tolist() == [own[v ^ 1] for v in range(32)]


def test_lanes_that_never_come():
    text = """extern "C" __global__ void k(int* d) {
      if (threadIdx.x < 16) d[threadIdx.x] = __shfl_sync(0xffffffffu, d[0], 1);
      else { asm volatile("bar.sync 0;"); d[threadIdx.x] = 1; } }"""
    with pytest.raises(KernelError, match="waits"):
        run(compiled(text), [np.full(32, 7, np.int32)])
