"""CUDA text to a launch on arrays."""

import numpy as np

from lampq_tvm.compiler.cuda.nvrtc import compile_text
from lampq_tvm.ptx import Memory, launch, parse, unknown

AT = """
__device__ __forceinline__ unsigned at(const void* p) {
  unsigned a; asm("{ .reg .u64 t; cvta.to.shared.u64 t, %1; cvt.u32.u64 %0, t; }" : "=r"(a) : "l"(p)); return a;
}
"""


def compiled(text, arch="sm_87", major=12):
    module = parse(compile_text(text, arch, major).ptx)
    assert not unknown(module)
    return module


def run(module, arrays, numbers=(), grid=(1, 1, 1), block=(32, 1, 1), shared=0, check=True):
    """Launch the only kernel on copies of arrays, then numbers; the arrays as they are afterwards."""
    memory = Memory()
    places = [memory.alloc(a.nbytes) for a in arrays]
    for place, array in zip(places, arrays, strict=True):
        memory.write(place, array)
    launch(module, next(iter(module.entries)), grid, block, shared, [*places, *numbers], memory, check=check)
    return [memory.read(p, a.nbytes).view(a.dtype).reshape(a.shape) for p, a in zip(places, arrays, strict=True)]


def words(rng, *shape):
    return rng.integers(0, 2**32, shape, dtype=np.uint32)
