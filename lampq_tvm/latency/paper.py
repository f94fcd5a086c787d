"""Time of a CUDA kernel on paper: from a board's figures, and from what one of its blocks does.

    t = LAUNCH + ISSUE * issue + TENSOR * tensor + CACHED * cached + MEMORY * memory

issue: instructions of the busiest multiprocessor's warps, four a clock; tensor: its multiply-adds at the peak of `mma`;
cached: bytes of values that the last cache holds from one kernel to the next, at the memory's rate; memory: other values, and
weights. They add up, for a chip's blocks do the same thing at the same time and few of them share a multiprocessor. The factors
are the least squares of relative errors over kernels that an H200 timed (`bench/cuda/paper.py`), but for MEMORY, which does not
show there: 0.8 of the rate is what long copies reach.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lampq_tvm.compiler.cuda.build import CompiledKernel, compile_kernels
from lampq_tvm.errors import DeviceError
from lampq_tvm.latency.table import Timing
from lampq_tvm.lower.cuda.launch import Launch
from lampq_tvm.ptx.memory import Memory
from lampq_tvm.ptx.parse import parse
from lampq_tvm.ptx.run import launch as interpret
from lampq_tvm.targets import Target
from lampq_tvm.targets.board import Board

LAUNCH_MS = 0.00206
ISSUE, TENSOR, CACHED, MEMORY = 1.25, 2.47, 0.21, 1.25
SCHEDULERS = 4  # of a multiprocessor, an instruction a clock each


def issued(compiled: CompiledKernel) -> float:
    """PTX instructions of warps that a block executes, on zeros: blocks beside each other, where one of them does more."""
    kernel, memory, places = compiled.kernel, Memory(), {}
    for name, (size, _) in zip(compiled.params, compiled.buffers, strict=True):
        places[name] = memory.alloc(max(size, 1))
    blocks = kernel.grid[0] if "count" in places else 1
    args, grid = [places[name] for name in compiled.params], (blocks, 1, 1)
    module, shared = parse(compiled.ptx), kernel.shared_bytes
    return interpret(module, compiled.entry, grid, kernel.block, shared, args, memory, check=False) / blocks


@dataclass(frozen=True)
class Counted:
    """A kernel's grid, and the instructions that a block of it executes."""

    grid: tuple[int, int, int]
    instructions: float


def counted(launch: Launch, target: Target) -> Counted:
    """A launch's kernel, compiled for a target and counted."""
    (compiled,) = compile_kernels([launch], target.isa, target.cuda_major or 0).values()
    return Counted(compiled.kernel.grid, issued(compiled))


def parts_ms(launch: Launch, kernel: Counted, board: Board) -> tuple[float, ...]:
    """(issue, tensor, cached, memory) of a launch in milliseconds, each at its peak.

    Raises:
        DeviceError: the board's file lacks a figure.
    """
    blocks, sms = math.prod(kernel.grid), board.gpu.sms if board.gpu else 1
    busiest = -(-blocks // sms)
    issue = busiest * kernel.instructions / (SCHEDULERS * _rate(board, "gpu_clock") * 1e6)
    peak = _rate(board, f"gpu_{launch.rate}_mma", f"gpu_{launch.rate}") * 1e9 / sms if launch.macs else 1.0
    values, weights = launch.value_bytes, launch.weight_bytes
    stays = "gpu_l2" in board.figures and values <= _rate(board, "gpu_l2") * 2**20
    cached, stored = (values, weights) if stays else (0, values + weights)
    bandwidth = _rate(board, "memory_bandwidth_read", "memory_bandwidth") * 1e6
    return issue, 2 * launch.macs / blocks * busiest / peak, cached / bandwidth, stored / bandwidth


def on_paper(launch: Launch, kernel: Counted, board: Board) -> Timing:
    """The estimate; arguments and errors as of `parts_ms`."""
    ms = LAUNCH_MS + float(np.dot((ISSUE, TENSOR, CACHED, MEMORY), parts_ms(launch, kernel, board)))
    return Timing(median_ms=ms, p95_ms=ms, n=0, kind="estimated")


def _rate(board: Board, *names: str) -> float:
    """The first of some figures that a board's file has.

    Raises:
        DeviceError: it has none of them.
    """
    found = next((board.figures[name].value for name in names if name in board.figures), None)
    if found is None:
        raise DeviceError(f"its file has no {names[-1]}", where=board.name, hint="measure on the board instead")
    return found
