"""A multi-stage int8 product in CUDA text, right and with the mistakes that the interpreter must find."""

import numpy as np
import pytest

from lampq_tvm.compiler.cuda.nvrtc import compile_text
from lampq_tvm.ptx import KernelError, Memory, launch, parse, unknown

TEXT = r"""
typedef signed char int8_t;
#define STAGES 3
#define ROW 80
#define STAGE (128 * ROW)
__device__ __forceinline__ unsigned at(const void* p) {
  unsigned a; asm("{ .reg .u64 t; cvta.to.shared.u64 t, %1; cvt.u32.u64 %0, t; }" : "=r"(a) : "l"(p)); return a;
}
__device__ __forceinline__ void load(int8_t* to, const int8_t* A, const int8_t* B, int s, int M, int N, int K) {
  #pragma unroll
  for (int i = 0; i < 4; i++) {
    int t = i * 128 + threadIdx.x, row = t / 4, col = t % 4 * 16;
    int place = row < 64 ? blockIdx.y * 64 + row : blockIdx.x * 64 + row - 64;
    bool inside = place < (row < 64 ? M : N) && s * 64 + col < K;
    const int8_t* from = inside ? (row < 64 ? A : B) + (long long)place * K + s * 64 + col : A;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
      :: "r"(at(to + row * ROW + col)), "l"(from), "r"(inside ? 16 : 0));
  }
}
#define LDM(q, p) asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" \
  : "=r"((q)[0]), "=r"((q)[1]), "=r"((q)[2]), "=r"((q)[3]) : "r"(at(p)))
extern "C" __global__ void __launch_bounds__(128) gemm(const int8_t* A, const int8_t* B, int* C, int M, int N, int K) {
  extern __shared__ __align__(16) int8_t shared[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, wm = warp / 2 * 32, wn = warp % 2 * 32;
  int c[2][4][4];
  #pragma unroll
  for (int i = 0; i < 32; i++) c[i / 16][i / 4 % 4][i % 4] = 0;
  int steps = (K + 63) / 64;
  #pragma unroll
  for (int s = 0; s < STAGES - 1; s++) {
    if (s < steps) load(shared + s * STAGE, A, B, s, M, N, K);
    asm volatile("cp.async.commit_group;");
  }
  for (int s = 0; s < steps; s++) {
    asm volatile("cp.async.wait_group %0;" :: "n"(WAIT));
    SYNC;
    if (s + STAGES - 1 < steps) load(shared + (s + STAGES - 1) % STAGES * STAGE, A, B, s + STAGES - 1, M, N, K);
    asm volatile("cp.async.commit_group;");
    int8_t* now = shared + s % STAGES * STAGE + SHIFT;
    #pragma unroll
    for (int k = 0; k < 64; k += 32) {
      unsigned a[2][4], b[2][4];
      #pragma unroll
      for (int i = 0; i < 2; i++) {
        LDM(a[i], now + (wm + i * 16 + lane % 16) * ROW + k + lane / 16 * 16);
        LDM(b[i], now + (64 + wn + i * 16 + lane / 16 * 8 + lane % 8) * ROW + k + lane % 16 / 8 * 16);
      }
      #pragma unroll
      for (int i = 0; i < 2; i++)
        #pragma unroll
        for (int j = 0; j < 4; j++)
          asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+r"(c[i][j][0]), "+r"(c[i][j][1]), "+r"(c[i][j][2]), "+r"(c[i][j][3])
            : "r"(a[i][0]), "r"(a[i][1]), "r"(a[i][2]), "r"(a[i][3]), "r"(b[j / 2][j % 2 * 2]), "r"(b[j / 2][j % 2 * 2 + 1]));
    }
  }
  #pragma unroll
  for (int i = 0; i < 32; i++) {
    int m = blockIdx.y * 64 + wm + i / 16 * 16 + lane / 4 + i / 2 % 2 * 8;
    int n = blockIdx.x * 64 + wn + i / 4 % 4 * 8 + lane % 4 * 2 + i % 2;
    if (m < M EDGE n < N) C[m * N + n] = c[i / 16][i / 4 % 4][i % 4];
  }
}
"""
RIGHT = {"WAIT": "STAGES - 2", "SYNC": "__syncthreads()", "SHIFT": "0", "EDGE": "&&"}


def run(arch, major, shape, **changes):
    text = TEXT
    for name, put in {**RIGHT, **changes}.items():
        text = text.replace(name, put)
    module = parse(compile_text(text, arch, major).ptx)
    assert not unknown(module)
    m, n, k = shape
    rng = np.random.default_rng(m)
    a, b = (rng.integers(-128, 128, (rows, k)).astype(np.int8) for rows in (m, n))
    memory = Memory()
    places = [memory.alloc(size) for size in (a.size, b.size, m * n * 4)]
    memory.write(places[0], a)
    memory.write(places[1], b)
    launch(module, "gemm", (-(-n // 64), -(-m // 64), 1), (128, 1, 1), 3 * 128 * 80, [*places, m, n, k], memory)
    found = memory.read(places[2], m * n * 4).view(np.int32).reshape(m, n)
    assert np.array_equal(found, a.astype(np.int32) @ b.T.astype(np.int32))


@pytest.mark.parametrize(("arch", "major"), [("sm_80", 11), ("sm_87", 12), ("sm_90", 13)])
def test_equal_to_numpy(arch, major):
    run(arch, major, (197, 200, 192))


def test_smaller_than_a_tile():
    run("sm_87", 12, (3, 5, 16))


MISTAKES = {
    "not been waited for": {"WAIT": "STAGES - 1"},
    "races": {"SYNC": ""},
    "misaligned": {"SHIFT": "4"},
    "outside every allocation": {"EDGE": "||"},
    "outside the block's": {"SHIFT": "3 * STAGE"},
    "never written": {"SHIFT": "2 * STAGE"},
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_found(message):
    with pytest.raises(KernelError, match=message) as caught:
        run("sm_87", 12, (70, 70, 128), **MISTAKES[message])
    assert "kernel gemm, PTX line" in str(caught.value)
    assert "of block (" in str(caught.value)
