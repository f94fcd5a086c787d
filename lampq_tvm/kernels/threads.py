"""How kernels share out their work: code that every thread runs once, around a loop whose iterations the threads share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T


@contextmanager
def each_thread(jobs: int) -> Iterator[None]:
    """A region that every thread runs, around one parallel loop over the jobs: each thread gets a run of neighbouring ones,
    and buffers allocated before the loop keep what they hold from one job to the next.
    """
    with ExitStack() as region:
        if jobs > 1:  # TVM drops a loop of one iteration, and then finds none to share out
            region.enter_context(T.attr(tirx.const(0, "int32"), "pragma_parallel_launch_point", tirx.const(1, "int32")))
        region.enter_context(T.sblock("thread"))
        T.reads()
        T.writes()
        yield


def keep(buffer: Any, value: Expr) -> None:
    """Start a thread's buffer with a value in its first place; one that is not written before the loop moves into it."""
    T.buffer_store(buffer, value, [0] * len(buffer.shape))
