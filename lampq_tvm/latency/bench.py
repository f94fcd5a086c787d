"""Times kernels: a library of the very kernels that ship, arguments of the right shapes, device timers or counted cores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tvm
from tvm.ir import IRModule
from tvm.tirx import PrimFunc

from lampq_tvm.compiler.linking import link_library
from lampq_tvm.device.count import counting_session
from lampq_tvm.device.emulate import played_board
from lampq_tvm.device.kind import Device
from lampq_tvm.device.native import link_kernels
from lampq_tvm.device.native_core import NativeCore
from lampq_tvm.device.rpc import Session
from lampq_tvm.device.times import COUNTED, MEASURED, Timing
from lampq_tvm.runtime.library import load_path
from lampq_tvm.runtime.machine import BIG_CORES, SET_THREADS, Machine
from lampq_tvm.scratch import scratch
from lampq_tvm.spread import set_up_kernel_threads
from lampq_tvm.targets import Target

ROUND_MS = 2.0  # a sample is at least this long, so that the timer's resolution does not show
SAMPLES = 12
# Instructions per cycle of a core whose vendor publishes no figures.
ASSUMED_IPC = 2.0
ASSUMED_GHZ = 2.0


class Bench(Protocol):
    """Kernels of one library, ready to be timed, and whole networks beside them.

    Attributes:
        session: with the device; None where there is none.
    """

    session: Session | None

    def time(self, name: str) -> Timing:
        """Time of one kernel."""

    def whole(self, library: bytes, params: Sequence[np.ndarray], image: np.ndarray) -> Timing:
        """Time of a network's `main` on an image batch, uint8 [B, C, H, W]."""


@contextmanager
def timing_bench(functions: Mapping[str, PrimFunc], target: Target, device: Device, threads: int | None) -> Iterator[Bench]:
    """Kernels on a device, judged as its kind is.

    Raises:
        DeviceError: it cannot be reached, or its times mean nothing.
    """
    if device.times.counted:
        yield CountedBench(functions, target)
        return
    with device.timed(target) as session:
        yield KernelBench(functions, target, session, threads)


class CountedBench:
    """Kernels built into one library whose instructions an emulated core counts.

    Raises:
        DeviceError: the core cannot be played.
    """

    session: Session | None = None

    def __init__(self, functions: Mapping[str, PrimFunc], target: Target) -> None:
        self.functions, self.target = dict(functions), target
        self.core = NativeCore(played_board(target))
        self._folder = scratch("latency")
        self._library = link_kernels(self.functions, target, Path(self._folder.name) / "kernels.so")

    def time(self, name: str) -> Timing:
        """Time of one kernel, estimated from its instructions on one core."""
        *inputs, output = arguments(self.functions[name])
        counted = self.core.count(self._library, inputs, [output], name=name)
        return estimated_ms(counted.instructions, counted.cycles, self.target)

    def whole(self, library: bytes, params: Sequence[np.ndarray], image: np.ndarray) -> Timing:
        """Time of a network, estimated from its instructions on one core, TVM's runtime included."""
        with counting_session(self.target) as session:
            return estimated_ms(*Machine(library, params, session).cycles(image), self.target)


class KernelBench:
    """Kernels built into one library and loaded on a device.

    Args:
        functions: kernels by name.
        session: an RPC session, None for this process.
        threads: cores to use; all where None.
    """

    def __init__(self, functions: Mapping[str, PrimFunc], target: Target, session: Session | None, threads: int | None) -> None:
        set_up_kernel_threads()
        self.functions, self.session, self.threads = dict(functions), session, threads
        module = IRModule({name: f.with_attr("global_symbol", name) for name, f in functions.items()})
        executable = tvm.compile(module, target=tvm.target.Target(target.tvm))
        with scratch("latency") as folder:
            path = link_library(executable, target, Path(folder) / "kernels.so")
            self.module = load_path(str(path)) if session is None else session.load(path)
        self.device = tvm.cpu() if session is None else session.cpu()
        if threads is not None:
            find = tvm.get_global_func if session is None else session.get_function
            find(SET_THREADS)(BIG_CORES, threads)

    def time(self, name: str) -> Timing:
        """Measured time of one kernel."""
        tensors = [tvm.runtime.tensor(array, self.device) for array in arguments(self.functions[name])]
        once = float(np.median(self._run(name, tensors, 1, 3)))
        samples = 1e3 * np.array(self._run(name, tensors, max(1, int(ROUND_MS / max(1e-4, 1e3 * once))), SAMPLES))
        return MEASURED.of(samples)

    def whole(self, library: bytes, params: Sequence[np.ndarray], image: np.ndarray) -> Timing:
        """Measured time of a network."""
        machine = Machine(library, params, self.session, self.threads)
        return MEASURED.of(1e3 * np.array(machine.seconds(image, SAMPLES + 3)[3:]))

    def _run(self, name: str, tensors: list[Any], number: int, repeat: int) -> list[float]:
        timer = self.module.time_evaluator(name, self.device, number=number, repeat=repeat)
        return list(timer(*tensors).results)


def arguments(function: PrimFunc) -> list[np.ndarray]:
    """Arrays of a kernel's shapes with harmless values: codes around zero, small scales, places that are in any array."""
    rng = np.random.default_rng(0)
    arrays = []
    for buffer in function.params:
        shape, dtype = [int(extent) for extent in buffer.shape], str(buffer.dtype)
        values = rng.normal(size=shape) if dtype == "float32" else rng.integers(0, 1 if dtype == "int32" else 8, shape)
        arrays.append(values.astype(dtype))
    return arrays


def estimated_ms(instructions: int, cycles: float | None, target: Target) -> Timing:
    """Milliseconds of one core at the board's clock: an estimate.

    Args:
        cycles: estimated ones; None, for a core without figures, assumes a rate of instructions.
    """
    clock = target.board.figures.get("clock") if target.board else None
    ghz = clock.value if clock else ASSUMED_GHZ
    ms = (instructions / ASSUMED_IPC if cycles is None else cycles) / (ghz * 1e6)
    return COUNTED.of([ms])
