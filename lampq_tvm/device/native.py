"""Counts one kernel's instructions on an emulated core, without the board's device server and its seconds.

A count is no time: whatever is made from it is an estimate and must be called one.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tvm
from tvm.tirx import PrimFunc

from lampq_tvm.device.classes import Counted
from lampq_tvm.device.emulate import played_board
from lampq_tvm.device.native_core import NativeCore
from lampq_tvm.errors import DeviceError
from lampq_tvm.memfile import captured
from lampq_tvm.scratch import check_room, scratch
from lampq_tvm.targets import Target


def count_kernel(
    func: PrimFunc, arrays: Sequence[np.ndarray], target: Target, *, core: NativeCore | None = None
) -> tuple[list[np.ndarray], int]:
    """Compile a kernel for an Arm board, run it once on the emulated core and count its instructions. For example:

        from lampq_tvm.device.native import count_kernel
        from lampq_tvm.targets import resolve_target
        (out,), instructions = count_kernel(func, [a, w, m, b, bounds], resolve_target("raspberry-pi-5"))

    The first call ever provisions the emulated board; later ones take about 0.3 s. One thread: a parallel loop runs as one
    task. The count is the same in every run. `count_classes` gives more.

    Args:
        func: of buffer arguments, inputs first and outputs last.
        arrays: the inputs, of the buffers' shapes and dtypes.
        target: an Arm board, which also chooses the emulated CPU.
        core: a core to use again, `NativeCore(board)`; saves milliseconds.

    Returns:
        (the outputs in their order, instructions of one call).

    Raises:
        DeviceError: the emulator cannot be had, or the kernel crashed, hung or refused the arrays.
    """
    counted = count_classes(func, arrays, target, core=core)
    return list(counted.outputs), counted.instructions


def count_classes(
    func: PrimFunc,
    arrays: Sequence[np.ndarray],
    target: Target,
    *,
    core: NativeCore | None = None,
    blocks: bool = False,
    threads: int = 0,
) -> Counted:
    """Like `count_kernel`, by instruction class; with the executed blocks, or with each task, where these are asked for.

    Args:
        threads: where not 0, as many tasks share each parallel loop (`NativeCore.count`).
    """
    core = core or NativeCore(played_board(target))
    with scratch("native") as temp:
        library = link_kernels({"main": func}, target, Path(temp) / "kernel.so")
        return core.count(library, arrays, empty_outputs(func, len(arrays)), blocks=blocks, threads=threads)


def empty_outputs(func: PrimFunc, inputs: int) -> list[np.ndarray]:
    """Arrays of the shapes and dtypes of a function's arguments after its inputs."""
    return [np.zeros([int(e) for e in buffer.shape], str(buffer.dtype)) for buffer in list(func.params)[inputs:]]


def link_kernels(functions: Mapping[str, PrimFunc], target: Target, library: Path) -> Path:
    """Compile kernels by name into a library that needs no runtime; returns its path.

    Raises:
        DeviceError: it does not link.
        OutputError: the disk is full.
        Exception: whatever TVM and LLVM raise where one does not compile.
    """
    module = tvm.IRModule({name: func.with_attr("global_symbol", name) for name, func in functions.items()})
    code = tvm.compile(module, target=tvm.target.Target(target.tvm))
    objects = library.with_suffix(".o")
    objects.write_bytes(captured(lambda name: code.mod.write_to_file(name, "o")))  # LLVM ends the process on a full disk
    # The linker alone: with the C compiler around it the same takes half a second.
    command = [sys.executable, "-m", "ziglang", "ld.lld", "-shared", "-o", str(library), str(objects)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    objects.unlink()
    if done.returncode != 0:
        check_room(library.parent)
        raise DeviceError(f"the kernels do not link ({done.stderr.strip()[:200]})", where=target.name)
    return library
