"""What global memory remembers of blocks: a word of another block's may be touched after a handover alone."""

import numpy as np
import pytest

from lampq_tvm.ptx import KernelError
from tests.ptx.cuda import compiled, run

KERNEL = """extern "C" __global__ void k(int* d, int* e, int* count) {
  __shared__ int before; int t = threadIdx.x, b = blockIdx.x, i = 64 * b + t; BODY }"""
HANDED = """d[i] = i; __syncthreads(); if (t == 0) { __threadfence(); before = atomicAdd(count, 1); __threadfence(); }
  __syncthreads(); if (before == 3) for (int o = 0; o < 4; o++) e[64 * o + t] = d[64 * o + 63 - t];"""
FINE = [
    "d[i] = i; e[i] = d[i];",
    "d[i] = i; __syncthreads(); e[i] = d[64 * b + 63 - t];",
    "((char*)d)[i] = 1; e[i] = 2; atomicAdd(d + 100, 1);",
    HANDED,
    # every thread fences for itself
    HANDED.replace("__syncthreads(); if (t == 0) {", "__syncthreads(); __threadfence(); __syncthreads(); if (t == 0) {"),
    HANDED + "if (t == 0 && before == 3) *count = 0;",
    # a lane writes 16 bytes, another block's lane reads 4 of them
    HANDED.replace("d[i] = i;", "if (t < 16) ((int4*)d)[16 * b + t] = make_int4(i, i, i, i);"),
]
RACES = [
    "d[i] = i; e[i] = d[(i + 64) % 256];",  # reads another block's word
    "d[t] = i;",  # two blocks write a word
    "e[i] = d[(i + 64) % 256]; d[i] = i;",  # one writes what the other reads
    "e[i] = d[t]; if (b == 3) d[t] = i;",  # one writes what several read
    HANDED.replace("{ __threadfence();", "{"),  # writers do not fence
    HANDED.replace("1); __threadfence();", "1);"),  # the reader does not
    HANDED.replace("d[i] = i; __syncthreads();", "d[i] = i;"),  # writers do not meet before one of them counts
    HANDED + "d[i] = 0;",  # others write on while one reads
    HANDED.replace("before == 3", "before == 0"),  # the first to count cannot know of the others
    HANDED.replace("before == 3", "before == 2"),  # nor of the last
]


@pytest.mark.parametrize("body", FINE)
def test_right_kernels_pass(body):
    run(compiled(KERNEL.replace("BODY", body)), zeros(), block=(64, 1, 1), grid=(4, 1, 1))


@pytest.mark.parametrize("body", RACES)
def test_races_are_found(body):
    module = compiled(KERNEL.replace("BODY", body))
    with pytest.raises(KernelError, match="in this launch: a race"):
        run(module, zeros(), block=(64, 1, 1), grid=(4, 1, 1))
    run(module, zeros(), block=(64, 1, 1), grid=(4, 1, 1), check=False)


def test_what_an_earlier_launch_wrote_is_everybodys():
    module = compiled(KERNEL.replace("BODY", "e[i] = d[(i + 64) % 256];"))
    d, e, count = zeros()
    _, found, _ = run(module, [d + np.arange(256, dtype=np.int32), e, count], block=(64, 1, 1), grid=(4, 1, 1))
    assert found[0] == 64


def zeros() -> list[np.ndarray]:
    return [np.zeros(256, np.int32), np.zeros(256, np.int32), np.zeros(1, np.int32)]
