"""A kernel's TIR becomes CUDA C++ text.

TVM lowers and prints; nothing here needs a driver. Three of its habits are undone: it would shrink padded rows of shared
memory (`CompactBufferAllocation` counts an address as one word), it has no rule for a fused multiply-add, and its text
includes toolkit headers, for which `PRELUDE` stands in. And it promises that nobody writes what a kernel only reads, which
lets a compiler read early: that holds of constants, not of what the kernel before may still be writing (`emit.await_previous`).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import tvm
from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import PrimFunc

from lampq_tvm.errors import LampqError
from lampq_tvm.kernels.cuda.emit import LEAST_BLOCKS

PRELUDE = """\
typedef signed char int8_t; typedef short int16_t; typedef int int32_t; typedef long long int64_t;
typedef unsigned char uint8_t; typedef unsigned short uint16_t; typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
#define uint unsigned int
#define uchar unsigned char
#define ushort unsigned short
#define __asm__ asm
#define __volatile__ volatile
"""
CONSTANTS = (
    "W", "S", "B", "M", "G", "N", "P", "range", "bounds", "pos", "table", "prefix", "inv", "affine", "bias", "pattern", "query",
    "index", "fill", "cos", "sin", "partner", "next_G", "next_B",
    "next_range", "next_affine",
)  # fmt: skip
PROMISE = re.compile(r"\* __restrict__ (\w+)_ptr")
READS_OUT = re.compile(r" = .*\bout_ptr\b")  # a kernel that adds to what another one may still be writing
LAUNCH_BOUNDS = re.compile(r"__launch_bounds__\((\d+)\)")
SIGNATURE = re.compile(r'extern "C" __global__ void __launch_bounds__\(\d+\) (\w+)\(([^)]*)\);')


@dataclass(frozen=True)
class CudaText:
    """A kernel as text.

    Attributes:
        text: CUDA C++, complete: it includes nothing.
        name: of the entry.
        params: names of the kernel's buffers in the order of its parameters, all of them pointers.
    """

    text: str
    name: str
    params: tuple[str, ...]


def cuda_text(func: PrimFunc, arch: str) -> CudaText:
    """The text of one kernel.

    Args:
        func: its TIR, thread extents bound, `global_symbol` set.
        arch: `sm_87`, ...
    """
    _register_fma()
    device = {"kind": "cuda", "arch": arch, "max_threads_per_block": 1024, "max_shared_memory_per_block": 1 << 17}
    target = tvm.target.Target(device, host="llvm")
    module = tvm.IRModule({str(func.attrs["global_symbol"]): func})
    with target, tvm.transform.PassContext(disabled_pass=["s_tir.CompactBufferAllocation"]):
        source = tvm.compile(module, target=target).mod.imports[0].inspect_source()
    found = SIGNATURE.search(source)
    if found is None:
        raise LampqError("TVM's text has no kernel", where=str(func.attrs["global_symbol"]))
    start = source.index("__forceinline__") if "__forceinline__" in source else found.start()
    names = tuple(part.split()[-1].removesuffix("_ptr") for part in found[2].split(",") if part)
    least = int(func.attrs[LEAST_BLOCKS]) if LEAST_BLOCKS in func.attrs else 1
    bounded = LAUNCH_BOUNDS.sub(lambda m: f"__launch_bounds__({m[1]}, {least})", source[start:])
    kept = CONSTANTS if READS_OUT.search(bounded) else (*CONSTANTS, "out")
    text = PROMISE.sub(lambda m: m[0] if m[1] in kept else f"* {m[1]}_ptr", bounded)
    return CudaText(PRELUDE + text, found[1], names)


@functools.cache
def _register_fma() -> None:
    def lower(call: Expr) -> Expr:
        return tirx.call_pure_extern("float32", "__fmaf_rn", *call.args)

    tirx.op.register_intrin_lowering("tirx.fma", "cuda", f=lower)
