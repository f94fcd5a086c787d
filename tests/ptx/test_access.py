"""Loads, stores, atomics and copies in every state space."""

import numpy as np
import pytest

from lampq_tvm.ptx import KernelError
from tests.ptx.cuda import AT, compiled, run, words

WIDTHS = ["u8", "s8", "u16", "s16", "u32", "s32", "b64", "v2.u8", "v4.u8", "v2.u16", "v4.s16", "v2.u32", "v4.u32", "v2.u64"]


def asm(width):
    """Load and store a thing of this width."""
    count, kind = (int(width[1]), width[3:]) if width[0] == "v" else (1, width)
    names = [f"x{i}" for i in range(count)]
    register = "b64" if kind[1:] == "64" else "b32" if kind[1:] == "32" else "b16"
    thing = f"{{{', '.join(names)}}}" if count > 1 else names[0]
    return count * int(kind[1:]) // 8, f".reg .{register} {', '.join(names)};", thing


@pytest.mark.parametrize("space", ["global", "shared", "local", ""])
def test_every_width_moves_the_same_bytes(space):
    parts, total = [], 0
    for width in WIDTHS:
        size, declare, thing = asm(width)
        dot = f".{space}" if space else ""
        source, middle, target = f"in + {total * 32} + t * {size}", f"room + t * {size}", f"out + {total * 32} + t * {size}"
        room = {"shared": '"r"(at({}))', "local": '"l"(mine)', "global": '"l"({})', "": '"l"({})'}[space].format(middle)
        text = f"{{ {declare} ld.global.{width} {thing}, [%0]; st{dot}.{width} [%1], {thing}; ld{dot}.{width} {thing}, [%1];"
        text += f" st.global.{width} [%2], {thing}; }}"
        parts.append(f'asm volatile("{text}" :: "l"({source}), {room}, "l"({target}) : "memory");')
        total += size
    kind = "__shared__ __align__(16) char" if space in ("shared", "") else ""
    room = f"{kind} room[512];" if kind else "char* room = spare;"
    if space == "local":
        room = "__align__(16) char stack[64]; stack[t % 8] = 1; unsigned long long mine;"
        room += 'asm volatile("cvta.to.local.u64 %0, %1;" : "=l"(mine) : "l"(stack));'
    text = f'{AT} extern "C" __global__ void k(char* in, char* out, char* spare) {{ int t = threadIdx.x; {room}'
    text += " ".join(parts) + "}"
    data = words(np.random.default_rng(3), total * 8)
    found = run(compiled(text), [data, np.zeros_like(data), np.zeros(512, np.uint8)])[1]
    assert np.array_equal(found, data)


def test_narrow_loads_are_extended_by_their_sign():
    text = """extern "C" __global__ void k(const char* in, int* out) { int a, b; short c;
      asm volatile("ld.global.s8 %0, [%3]; ld.global.u8 %1, [%3]; ld.global.s8 %2, [%3];"
        : "=r"(a), "=r"(b), "=h"(c) : "l"(in + threadIdx.x));
      out[threadIdx.x] = a; out[32 + threadIdx.x] = b; out[64 + threadIdx.x] = c; }"""
    data = np.arange(-16, 16, dtype=np.int8) * 7
    found = run(compiled(text), [data, np.zeros((3, 32), np.int32)])[1]
    assert found[0].tolist() == found[2].tolist() == data.tolist()
    assert found[1].tolist() == data.view(np.uint8).tolist()


def test_tables_constants_and_dynamic_indices():
    text = """__constant__ float table[5] = {1.5f, 2.5f, 3.5f, 4.5f, 5.5f}; __device__ short global[3] = {-7, 8, 9};
    __device__ int counter;
    extern "C" __global__ void k(float* out, int n) { int x[4]; int t = threadIdx.x;
      for (int i = 0; i < 4; i++) x[(i + t) % n] = i * t;
      out[t] = table[t % 5] + global[t % 3] + x[t % n] + atomicAdd(&counter, 1); }"""
    found = run(compiled(text), [np.zeros(32, np.float32)], [4])[0]
    for t in range(32):
        x = {(i + t) % 4: i * t for i in range(4)}
        assert found[t] == 1.5 + t % 5 + (-7, 8, 9)[t % 3] + x[t % 4] + t


@pytest.mark.parametrize("space", ["global", "shared"])
def test_atomics(space):
    text = """extern "C" __global__ void k(unsigned* d, unsigned* old, const unsigned* v) { SPACE; int t = threadIdx.x;
      if (t < 9) s[t] = d[t]; __syncthreads();
      old[t] = atomicAdd(s + t % 2, v[t]); atomicMax((int*)s + 2, (int)v[t]); atomicMin(s + 3, v[t]); atomicAnd(s + 4, v[t]);
      atomicOr(s + 5, v[t]); atomicXor(s + 6, v[t]); atomicCAS(s + 7, 5, t); old[64 + t] = atomicExch(s + 8, v[t]);
      __syncthreads(); if (t < 9) d[t] = s[t]; }"""
    room = "__shared__ unsigned s[9]" if space == "shared" else "unsigned* s = d"
    rng = np.random.default_rng(9)
    start, v = words(rng, 9), words(rng, 64)
    start[7] = 5
    module = compiled(text.replace("SPACE", room))
    found, old, _ = run(module, [start, np.zeros(128, np.uint32), v], block=(64, 1, 1))
    state, olds = [int(x) for x in start], []
    for t in range(64):
        olds.append(state[t % 2])
        state[t % 2] = (state[t % 2] + int(v[t])) % 2**32
    assert found[:2].tolist() == state[:2] and old[:64].tolist() == olds
    assert found.view(np.int32)[2] == max(start.view(np.int32)[2], v.view(np.int32).max())
    assert found[3] == min(start[3], v.min())
    bitwise = zip((np.bitwise_and, np.bitwise_or, np.bitwise_xor), start[4:7], strict=True)
    assert found[4:7].tolist() == [int(f.reduce(v, initial=s)) for f, s in bitwise]
    assert found[7] == 0 and found[8] == v[63] and old[64:].tolist() == [int(start[8]), *(int(x) for x in v[:63])]


COPY = (
    AT
    + """extern "C" __global__ void k(const char* in, char* out) {
  __shared__ __align__(16) char s[3][512]; int t = threadIdx.x;
  for (int i = t; i < 1536; i += 32) ((char*)s)[i] = 1; __syncthreads();
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" :: "r"(at(s[0] + t * 4)), "l"(in + t * 4), "r"(t % 5));
  asm volatile("cp.async.commit_group;");
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" :: "r"(at(s[1] + t * 8)), "l"(in + t * 8));
  asm volatile("cp.async.commit_group;");
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(at(s[2] + t * 16)), "l"(in + t * 16), "r"(t % 2 * 16));
  WAIT
  for (int i = 0; i < N; i++) for (int j = t; j < 512; j += 32) out[i * 512 + j] = s[i][j]; }"""
)


WAITS = [("cp.async.wait_group 1;", 1), ("cp.async.wait_group 0;", 2), ("cp.async.wait_all;", 3)]


@pytest.mark.parametrize(("wait", "rows"), WAITS)
def test_copies_arrive_at_their_wait(wait, rows):
    data = np.random.default_rng(2).integers(2, 255, 512).astype(np.uint8)
    text = COPY.replace("WAIT", f'asm volatile("{wait}" ::: "memory");')
    found = run(compiled(text.replace("N;", f"{rows};")), [data, np.zeros((3, 512), np.uint8)])[1]
    first = np.ones(512, np.uint8)
    for t in range(32):
        first[4 * t : 4 * t + 4] = [data[4 * t + i] if i < t % 5 else 0 for i in range(4)]
    second = np.concatenate([data[:256], np.ones(256, np.uint8)])
    third = np.where(np.arange(512) // 16 % 2 == 1, data, 0)
    assert np.array_equal(found[:rows], np.stack([first, second, third])[:rows])
    if rows < 3:
        with pytest.raises(KernelError, match="not been waited for"):
            run(compiled(text.replace("N;", f"{rows + 1};")), [data, np.zeros((3, 512), np.uint8)])


def test_accesses_that_fail_are_named():
    text = 'extern "C" __global__ void k(int* d, int at, int by) { *(int*)((char*)d + at + threadIdx.x * by) = 1; }'
    module = compiled(text)
    run(module, [np.zeros(32, np.int32)], [0, 4])
    last = r"thread \(31, 0, 0\) .* writes 4 bytes outside"
    for numbers, message in (((4, 4), last), ((-4, 4), r"thread \(0, 0, 0\)"), ((2, 0), "misaligned")):
        with pytest.raises(KernelError, match=message):
            run(module, [np.zeros(32, np.int32)], numbers)
