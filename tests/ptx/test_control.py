"""Divergence, barriers and the ends of kernels."""

import numpy as np
import pytest

from lampq_tvm.compiler.cuda.nvrtc import compile_text
from lampq_tvm.errors import UsageError
from lampq_tvm.ptx import KernelError, Memory, UnknownInstructionError, launch, parse, unknown
from tests.ptx.cuda import compiled, run

COLLATZ = """extern "C" __global__ void k(int* d, int n) {
  int i = (blockIdx.y * gridDim.x + blockIdx.x) * blockDim.x * blockDim.y + threadIdx.y * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int x = d[i], steps = 0;
  while (x > 1) { x = x % 2 ? 3 * x + 1 : x / 2; steps++; if (steps > 300) break; }
  switch (i % 9) { case 0: x = 5; break; case 1: x = steps * 3; break; case 2: x = -1; break; case 3: x = i; break;
    case 4: x = 11; break; case 5: x = ~i; break; case 6: x = i * i; break; case 7: x = 99; break; default: x = 0; }
  d[i] = steps * 1000 + x;
}"""


def collatz(i, x):
    steps = 0
    while x > 1:
        x = 3 * x + 1 if x % 2 else x // 2
        steps += 1
        if steps > 300:
            break
    return steps * 1000 + (5, steps * 3, -1, i, 11, ~i, i * i, 99, 0)[i % 9]


@pytest.mark.parametrize(("arch", "major"), [("sm_75", 11), ("sm_87", 12), ("sm_90", 13)])
def test_lanes_that_part_meet_again(arch, major):
    start = np.random.default_rng(0).integers(1, 99, 500).astype(np.int32)
    found = run(compiled(COLLATZ, arch, major), [start], [437], grid=(3, 2, 1), block=(15, 5, 1))[0]
    assert found.tolist() == [collatz(i, int(x)) if i < 437 else int(x) for i, x in enumerate(start)]


def test_many_blocks_in_chunks():
    text = 'extern "C" __global__ void k(int* d) { atomicAdd(d + blockIdx.x % 7, threadIdx.x); }'
    found = run(compiled(text), [np.zeros(7, np.int32)], grid=(120, 1, 1), block=(1024, 1, 1))[0]
    assert found.tolist() == [len(range(i, 120, 7)) * 1023 * 512 for i in range(7)]


SUM = """extern "C" __global__ void k(int* d, int n) { __shared__ int s[96]; int t = threadIdx.x;
  if (t >= n) return;
  s[t] = d[blockIdx.x * 96 + t]; __syncthreads();
  int sum = 0; for (int i = 0; i < n; i++) sum += s[i];
  d[blockIdx.x * 96 + t] = sum; }"""


def test_threads_that_left_do_not_hold_up_a_barrier():
    start = np.arange(288, dtype=np.int32).reshape(3, 96)
    found = run(compiled(SUM), [start], [70], grid=(3, 1, 1), block=(90, 1, 1))[0]
    assert (found[:, :70] == start[:, :70].sum(axis=1, keepdims=True)).all()
    assert (found[:, 70:] == start[:, 70:]).all()


def test_a_barrier_that_not_all_reach():
    text = """extern "C" __global__ void k(int* d) { int t = threadIdx.x;
      if (t < 40) asm volatile("bar.sync 0;"); else asm volatile("bar.sync 0; membar.cta;");
      d[t] = 1; }"""
    with pytest.raises(KernelError, match=r"not all .* reach, but thread \(40, 0, 0\) of block \(0, 0, 0\) does not come"):
        run(compiled(text), [np.zeros(64, np.int32)], block=(64, 1, 1))


def test_traps_and_tables():
    with pytest.raises(KernelError, match=r"thread \(3, 0, 0\) of block \(1, 0, 0\) stops at a trap"):
        run(compiled('extern "C" __global__ void k(int* d) { if (d[blockIdx.x * 32 + threadIdx.x] == 35) __trap(); }'),
            [np.arange(64, dtype=np.int32)], grid=(2, 1, 1))  # fmt: skip
    text = """extern "C" __global__ void k(unsigned* d) { asm volatile("{ .reg .b32 r; ts: .branchtargets A, B, C;"
      "ld.global.u32 r, [%0]; brx.idx r, ts; A: mov.u32 r, 10; bra.uni E; B: mov.u32 r, 20; bra.uni E; C: mov.u32 r, 30;"
      "E: st.global.u32 [%0], r; }" :: "l"(d + threadIdx.x) : "memory"); }"""
    found = run(compiled(text), [np.arange(32, dtype=np.uint32) % 3])[0]
    assert found.tolist() == [10 + i % 3 * 10 for i in range(32)]
    with pytest.raises(KernelError, match="outside its table"):
        run(compiled(text), [np.arange(32, dtype=np.uint32)])


def test_unknown_instructions_are_named():
    text = 'extern "C" __global__ void k(float* d) { d[0] = __sinf(d[0]); }'
    module = parse(compile_text(text, "sm_87", 12).ptx)
    assert unknown(module) == {"sin.approx.f32"}
    memory = Memory()
    with pytest.raises(UnknownInstructionError, match=r"PTX line \d+: no meaning is known for sin.approx.f32"):
        launch(module, "k", (1, 1, 1), (1, 1, 1), 0, [memory.alloc(4)], memory)


def test_wrong_launches():
    module, memory = compiled(SUM), Memory()
    with pytest.raises(UsageError, match="there are k"):
        launch(module, "other", (1, 1, 1), (1, 1, 1), 0, [], memory)
    with pytest.raises(UsageError, match="2 parameters"):
        launch(module, "k", (1, 1, 1), (1, 1, 1), 0, [1], memory)
    with pytest.raises(UsageError, match="an integer"):
        launch(module, "k", (1, 1, 1), (1, 1, 1), 0, [memory.alloc(4), 1.5], memory)
    with pytest.raises(UsageError, match="cannot be launched"):
        launch(module, "k", (1, 1, 1), (1025, 1, 1), 0, [memory.alloc(4), 1], memory)


def test_parameters_of_every_kind():
    text = """struct S { int a[3]; float b; };
    extern "C" __global__ void k(float* d, S s, char c, unsigned short h, float f, double g, long long l) {
      d[threadIdx.x] = s.a[threadIdx.x % 3] + s.b + c + h + f + (float)g + (float)l; }"""
    module, memory = compiled(text), Memory()
    place = memory.alloc(128)
    struct = np.array([1, 2, 3], np.int32).tobytes() + np.float32(0.5).tobytes()
    launch(module, "k", (1, 1, 1), (32, 1, 1), 0, [place, struct, -3, 40000, 0.25, 8.0, -(2**20)], memory)
    found = memory.read(place, 128).view(np.float32)
    assert found.tolist() == [1 + i % 3 + 0.5 - 3 + 40000 + 0.25 + 8 - 2**20 for i in range(32)]
