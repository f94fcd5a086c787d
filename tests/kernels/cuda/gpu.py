"""Compile a CUDA kernel for an architecture and run what NVRTC made of it on the interpreter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lampq_tvm.kernels.cuda.emit import CudaKernel
from lampq_tvm.ptx.memory import Memory
from lampq_tvm.ptx.parse import parse
from lampq_tvm.ptx.run import launch
from tests.kept import compiled_text, text_of

# The compiler that is used here.
MAJORS = {"sm_53": 12, "sm_72": 11, "sm_75": 13, "sm_80": 11, "sm_87": 12, "sm_90": 12, "sm_110": 13, "sm_120": 13}


def run(kernel: CudaKernel, arch: str, buffers: Mapping[str, np.ndarray], out: np.ndarray) -> np.ndarray:
    """What the kernel leaves in its buffer `out`, whose first content is `out`; `buffers` may hold more than it reads."""
    return run_outs(kernel, arch, buffers, {"out": out})["out"]


def run_outs(
    kernel: CudaKernel, arch: str, buffers: Mapping[str, np.ndarray], outs: Mapping[str, np.ndarray], times: int = 1
) -> dict[str, np.ndarray]:
    """What some launches in a row leave in the buffers `outs`."""
    text = text_of(kernel.func, arch)
    module = parse(compiled_text(text.text, arch, MAJORS[arch]).ptx)
    memory, places = Memory(), {}
    for name, array in {**buffers, **outs}.items():
        places[name] = memory.alloc(array.nbytes)
        memory.write(places[name], np.ascontiguousarray(array).tobytes())
    args = [places[name] for name in text.params]
    for _ in range(times):
        launch(module, text.name, kernel.grid, kernel.block, kernel.shared_bytes, args, memory)
    return {
        name: np.frombuffer(memory.read(places[name], out.nbytes), out.dtype).reshape(out.shape) for name, out in outs.items()
    }


def pack_rows(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes [rows, n] int8 as they lie in device memory: rows of whole 16 bytes, 4-bit codes two a byte."""
    rows, n = codes.shape
    bytes_ = codes.view(np.uint8)
    if bits == 4:
        even = np.zeros((rows, n + n % 2), np.uint8)
        even[:, :n] = bytes_ & 15
        bytes_ = even[:, 0::2] | even[:, 1::2] << 4
    return np.pad(bytes_, ((0, 0), (0, -bytes_.shape[1] % 16)))


def pack_halves(x: np.ndarray) -> np.ndarray:
    """Float16 values [rows, n] in rows of whole 16 bytes; what follows a row is finite, as kernels leave it."""
    return np.pad(x.astype(np.float16), ((0, 0), (0, -x.shape[1] % 8)), constant_values=np.float16(3))


def unpack_rows(memory: np.ndarray, n: int, bits: int) -> np.ndarray:
    """The codes [rows, n] int8 that lie in device memory."""
    if bits == 8:
        return memory[:, :n].view(np.int8)
    pairs = np.stack([memory & 15, memory >> 4], 2).reshape(len(memory), -1)[:, :n]
    return ((pairs ^ 8).astype(np.int16) - 8).astype(np.int8)
