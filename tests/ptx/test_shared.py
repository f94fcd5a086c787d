"""What shared memory remembers."""

import numpy as np
import pytest

from lampq_tvm.ptx import KernelError
from tests.ptx.cuda import compiled, run

KERNEL = """extern "C" __global__ void k(int* d) { __shared__ int s[64]; int t = threadIdx.x; d += 64 * blockIdx.x; BODY }"""
FINE = [
    "s[t] = t; __syncthreads(); d[t] = s[63 - t];",
    "s[t] = t; __syncwarp(); d[t] = s[t ^ 1];",
    "s[t] = t; __syncthreads(); d[t] = s[0] + s[5]; __syncthreads(); s[t] = 1; d[t] += s[t];",
    "((char*)s)[t] = t; ((char*)s)[64 + t] = 1; __syncthreads(); d[t] = ((char*)s)[127 - t];",
]
RACES = [
    "s[t] = t; d[t] = s[63 - t];",  # read after another warp's write
    "s[t] = t; __syncthreads(); d[t] = s[63 - t]; s[t] = 2;",  # write after another warp's read
    "s[t % 32] = t; __syncthreads(); d[t] = s[0];",  # two writes
    "s[t] = t; __syncthreads(); d[t] = s[0]; if (t == 0) s[0] = 2;",  # write after reads of several warps
    "s[t] = t; __syncthreads(); d[t] = s[0]; if (t == 63) s[0] = 2;",
    "((char*)s)[t] = t; d[t] = s[t / 4 ^ 8];",  # of one byte in a word
]


@pytest.mark.parametrize("body", FINE)
def test_right_kernels_pass(body):
    run(compiled(KERNEL.replace("BODY", body)), [np.zeros(64, np.int32)], block=(64, 1, 1))


@pytest.mark.parametrize("body", RACES)
def test_races_are_found(body):
    module = compiled(KERNEL.replace("BODY", body))
    with pytest.raises(KernelError, match="races"):
        run(module, [np.zeros(128, np.int32)], block=(64, 1, 1), grid=(2, 1, 1))
    run(module, [np.zeros(64, np.int32)], block=(64, 1, 1), check=False)


def test_reads_of_unwritten_bytes_are_found():
    module = compiled(KERNEL.replace("BODY", "if (t < 63) s[t] = t; __syncthreads(); d[t] = s[t];"))
    with pytest.raises(KernelError, match=r"thread \(63, 0, 0\) of block .* that was never written"):
        run(module, [np.zeros(64, np.int32)], block=(64, 1, 1))
