"""How kernels share out their work: code that every thread runs once, around a loop whose iterations the threads share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.isa.level import Level
from lampq_tvm.kernels.shapes import round_up

ALIGNMENT = 64  # bytes of what TVM's runtime hands out, and of every buffer in it
CPU, DEVICE = 1, 0  # DLPack's
UINT = 1  # DLPack's type code


@dataclass(frozen=True)
class Own:
    """A buffer that every thread has of its own; it holds anything at first.

    Attributes:
        shape, dtype: of the buffer.
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Bytes that are set aside for it."""
        return round_up(math.prod(self.shape) * np.dtype(self.dtype).itemsize, ALIGNMENT)


@contextmanager
def region(jobs: int) -> Iterator[None]:
    """A region that every thread runs, around one parallel loop over the jobs: each thread gets a run of neighbouring ones."""
    with ExitStack() as inside:
        if jobs > 1:  # TVM drops a loop of one iteration, and then finds none to share out
            inside.enter_context(T.attr(tirx.const(0, "int32"), "pragma_parallel_launch_point", tirx.const(1, "int32")))
        inside.enter_context(T.sblock("thread"))
        T.reads()
        T.writes()
        yield


@contextmanager
def hooks(level: Level, jobs: int) -> Iterator[None]:
    """Around one parallel loop that multiplies: what each thread does before and after on a level that wants anything."""
    if not level.hooked:
        yield
        return
    with region(jobs):
        level.enter()
        yield
        level.leave()


@contextmanager
def each_thread(level: Level, jobs: int, *own: Own) -> Iterator[list[Any]]:
    """A region around one parallel loop that multiplies, with buffers of each thread's own, which keep what they hold from
    one job to the next.

    The memory is asked of TVM's runtime by name: TVM moves what is allocated here before the region, for all threads to share.
    """
    with region(jobs):
        level.enter()
        size = tirx.const(sum(buffer.size for buffer in own), "uint64")
        memory = T.Bind(T.TVMBackendAllocWorkspace(CPU, DEVICE, size, UINT, 8))
        start, buffers = 0, []
        for buffer in own:
            offset = start // np.dtype(buffer.dtype).itemsize
            buffers.append(T.decl_buffer(buffer.shape, buffer.dtype, data=memory, elem_offset=offset))
            start += buffer.size
        yield buffers
        T.evaluate(T.TVMBackendFreeWorkspace(CPU, DEVICE, memory))
        level.leave()
