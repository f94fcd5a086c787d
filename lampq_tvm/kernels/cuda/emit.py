"""Small pieces that CUDA kernels are written with: threads, copies into shared memory, bytes, exact float steps.

Matrices of codes are seen as 32-bit words, a row at a multiple of 16 bytes: what a tensor core instruction reads is the same
for 8-bit and 4-bit codes then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

LEAST_BLOCKS = "lampq.least_blocks"  # attribute of a function: that a multiprocessor's registers must hold
WARP = 32
CHUNK = 4  # words of the 16 bytes that one thread copies at a time


@dataclass(frozen=True)
class CudaKernel:
    """A kernel and how it is launched.

    Attributes:
        func: TIR with bound threads; its parameters are the kernel's buffers.
        grid, block: extents in x, y and z.
        shared_bytes: dynamic shared memory.
    """

    func: PrimFunc
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int = 0


@dataclass(frozen=True)
class Threads:
    """Where a thread stands: `lane` of its warp, `warp` of its block, `block` in x, y and z; `warps` in a block."""

    lane: Expr
    warp: Expr
    block: tuple[Expr, Expr, Expr]
    warps: int

    @property
    def index(self) -> Expr:
        """Number of the thread in its block."""
        return self.warp * WARP + self.lane

    @property
    def count(self) -> int:
        """Threads of the block."""
        return self.warps * WARP


EARLY = {
    "lampq_let_next_start": """
__forceinline__ __device__ void lampq_let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}
""",
    "lampq_await_previous": """
__forceinline__ __device__ void lampq_await_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
""",
}


def await_previous() -> None:
    """Wait for the kernel before this one: from sm_90 on kernels start early, and may not touch its values before."""
    T.evaluate(T.cuda.func_call("lampq_await_previous", source_code=EARLY["lampq_await_previous"], return_type="void"))


@contextmanager
def launch(grid: tuple[int, int, int], warps: int, *, waits: bool = True) -> Iterator[Threads]:
    """The kernel's threads; what is emitted inside is one thread's work.

    Args:
        waits: for the kernel before; else `await_previous` must come before anything that is not a constant is touched.
    """
    with ExitStack() as stack:
        axes = zip(("blockIdx.x", "blockIdx.y", "blockIdx.z"), grid, strict=True)
        blocks = [stack.enter_context(T.launch_thread(axis, extent)) for axis, extent in axes]
        lane = stack.enter_context(T.launch_thread("threadIdx.x", WARP))
        warp = stack.enter_context(T.launch_thread("threadIdx.y", warps))
        stack.enter_context(T.sblock("body"))
        T.reads()
        T.writes()
        name = "lampq_let_next_start"
        T.evaluate(T.cuda.func_call(name, source_code=EARLY[name], return_type="void"))
        if waits:
            await_previous()
        yield Threads(lane, warp, (blocks[0], blocks[1], blocks[2]), warps)


def argument(name: str, shape: Sequence[int], dtype: str) -> Any:
    """The kernel's next buffer."""
    return T.arg(name, T.buffer(tuple(shape), dtype))


def registers(count: int, dtype: str = "uint32") -> Any:
    """Registers of a thread, to be indexed by constants only."""
    return T.sblock_alloc_buffer((count,), dtype, scope="local")


def shared(words: int) -> Any:
    """The block's shared memory in words. One buffer a kernel: TVM cannot merge two that are used by address alone."""
    return T.sblock_alloc_buffer((words,), "uint32", scope="shared.dyn")


def i32(value: int) -> Expr:
    """An int32 constant."""
    return tirx.const(value, "int32")


def u32(value: int) -> Expr:
    """An unsigned constant."""
    return tirx.const(value, "uint32")


def f32(value: float | np.floating[Any]) -> Expr:
    """A float constant, rounded to float32."""
    return tirx.const(float(value), "float32")


def as_type(value: Expr, dtype: str) -> Expr:
    """The same 32 bits as another type."""
    return value if str(value.ty) == dtype else T.reinterpret(value, dtype=dtype)


def ptx(name: str, *args: Any) -> None:
    """Emit a PTX instruction; results come first, as in PTX."""
    T.evaluate(T.ptx[name](*args))


def barrier() -> None:
    """All threads of the block meet here."""
    T.evaluate(T.tvm_storage_sync("shared"))


def put(buffer: Any, index: Any, value: Expr) -> None:
    """buffer[index] = value."""
    T.buffer_store(buffer, value, list(index) if isinstance(index, tuple) else [index])


def move(source: Any, first: tuple[Expr, ...], target: Any, to: tuple[Expr, ...], size: int) -> None:
    """Copy `size` (1, 2 or a multiple of 4) neighbours along the last axis, up to four of them at a time."""
    width = min(size, 4)
    for x in range(0, size, width):
        here, there = (*first[:-1], first[-1] + x), (*to[:-1], to[-1] + x)
        if width == 1:
            put(target, there, source[here])
            continue
        values = source.vload(list(here), f"{source.dtype}x{width}")
        T.buffer_store(target, values, [*there[:-1], T.ramp(there[-1], 1, width)])


def at(buffer: Any, *index: Any) -> Expr:
    """Address of an element."""
    return T.address_of(buffer[index if len(index) > 1 else index[0]])


@contextmanager
def when(condition: Expr | None) -> Iterator[None]:
    """Emit under a condition; None is always."""
    if condition is None:
        yield
        return
    with T.If(condition), T.Then():
        yield


def under(condition: Expr | bool) -> Iterator[None]:
    """`for _ in under(c): ...` emits the body under a condition, once where it holds already, not where it cannot hold."""
    if not isinstance(condition, bool):
        with when(condition):
            yield
    elif condition:
        yield


def copy_words(memory: Any, target: Expr, source: Any, row: Expr, word: Expr, count: int, asynchronous: bool) -> None:
    """Copy 1, 2 or 4 neighbouring words of a matrix into shared memory, at once or by an asynchronous copy."""
    if asynchronous:
        level = "cg" if count == CHUNK else "ca"  # past the first cache; the instruction takes 16 bytes only
        ptx(f"cp.async.{level}.shared.global", at(memory, target), at(source, row, word), 4 * count)
        return
    words = source[row, word] if count == 1 else source.vload([row, word], f"uint32x{count}")
    T.buffer_store(memory, words, [target if count == 1 else T.ramp(target, 1, count)])


def clear(memory: Any, words: int, place: Callable[[Expr], Expr], threads: Threads) -> None:
    """Zeros into `words` words of shared memory, number i at `place(i)`."""
    with T.serial(0, -(-words // threads.count)) as turn:
        i = turn * threads.count + threads.index
        with when(None if words % threads.count == 0 else i < words):
            put(memory, place(i), u32(0))


def butterfly(value: Expr, distance: int) -> Expr:
    """The value of the lane whose number differs from this one's in the bit `distance`."""
    return T.tvm_warp_shuffle_xor(u32(0xFFFFFFFF), value, i32(distance), i32(WARP), i32(WARP))


def add_across(sums: Any, slots: Iterable[int]) -> None:
    """Registers of a warp's lanes become their sum over the lanes, halved 16, 8, 4, 2, 1: the arithmetic table's order."""
    for distance in (16, 8, 4, 2, 1):
        for slot in slots:
            put(sums, slot, sums[slot] + butterfly(sums[slot], distance))


MAGIC = 12582912.0  # 1.5 * 2^23: float32 numbers of its size are the whole ones


def rounded(x: Expr) -> Expr:
    """A word whose low bits are those of rne(x), for |x| < 2^22: an addition, where a conversion takes a slower unit."""
    return T.reinterpret(x + f32(MAGIC), dtype="uint32")


def codes_of(x: Expr, low: Expr, high: Expr) -> Expr:
    """A word whose low bits are those of sat(rne(x)): clamping to whole numbers first comes to the same."""
    return rounded(T.min(T.max(x, low), high))


def bytes_of(items: Sequence[Expr]) -> Expr:
    """The low bytes of four words as one."""
    pairs = registers(2)
    for i in range(2):
        ptx("prmt.b32", pairs[i], items[2 * i], items[2 * i + 1], u32(0x0040))
    ptx("prmt.b32", pairs[0], pairs[0], pairs[1], u32(0x5410))
    return pairs[0]
