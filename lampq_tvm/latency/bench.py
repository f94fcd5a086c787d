"""Times kernels on a device: a library of the very kernels that ship, arguments of the right shapes, device timers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm.ir import IRModule
from tvm.tirx import PrimFunc

from lampq_tvm.build.compiler import linker
from lampq_tvm.device.count import counting_session
from lampq_tvm.device.rpc import Session, connect
from lampq_tvm.latency.table import Timing
from lampq_tvm.runtime.machine import count_cores
from lampq_tvm.targets import Target

ROUND_MS = 2.0  # a sample is at least this long, so that the timer's resolution does not show
SAMPLES = 12
# Instructions per cycle taken for estimates from instruction counts, where no board is at hand.
ASSUMED_IPC = 2.0
ASSUMED_GHZ = 2.0


@contextmanager
def open_device(device: str, target: Target) -> Iterator[Session | None]:
    """A session on the device; None for this process. An emulated board counts instructions.

    Raises:
        DeviceError: it cannot be reached.
    """
    if device == "local":
        yield None
    else:
        with counting_session(target) if device == "emulated" else connect(device, target) as session:
            yield session


class KernelBench:
    """Kernels built into one library and loaded on a device.

    Args:
        functions: kernels by name.
        session: an RPC session, None for this process.
        threads: cores to use; all where None.
    """

    def __init__(
        self, functions: Mapping[str, PrimFunc], target: Target, session: Session | None, threads: int | None
    ) -> None:
        count_cores()
        self.functions, self.session, self.target = dict(functions), session, target
        module = IRModule({name: f.with_attr("global_symbol", name) for name, f in functions.items()})
        executable = tvm.compile(module, target=tvm.target.Target(target.tvm))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "kernels.so"
            executable.export_library(str(path), workspace_dir=folder, **linker(target))
            self.module = tvm.runtime.load_module(str(path)) if session is None else session.load(path)
        self.device = tvm.cpu() if session is None else session.cpu()
        if threads is not None and (session is None or not session.emulated):
            find = tvm.get_global_func if session is None else session.get_function
            find("runtime.config_threadpool")(1, threads)

    def time(self, name: str) -> Timing:
        """Time of one kernel: measured, or estimated from its instruction count on an emulated board."""
        arguments = self.arguments(name)
        if self.session is not None and self.session.emulated:
            return estimated_ms(self.session.count(self.module, name, *arguments), self.target)
        once = float(np.median(self._run(name, arguments, 1, 3)))
        samples = 1e3 * np.array(self._run(name, arguments, max(1, int(ROUND_MS / max(1e-4, 1e3 * once))), SAMPLES))
        return timing(samples)

    def _run(self, name: str, arguments: list[Any], number: int, repeat: int) -> list[float]:
        timer = self.module.time_evaluator(name, self.device, number=number, repeat=repeat)
        return list(timer(*arguments).results)

    def arguments(self, name: str) -> list[Any]:
        """Arrays of the kernel's shapes with harmless values: codes around zero, small scales."""
        rng = np.random.default_rng(0)
        arrays = []
        for buffer in self.functions[name].params:
            shape, dtype = [int(extent) for extent in buffer.shape], str(buffer.dtype)
            values = rng.normal(size=shape) if dtype == "float32" else rng.integers(0, 8, shape)
            arrays.append(tvm.runtime.tensor(values.astype(dtype), self.device))
        return arrays


def timing(samples_ms: np.ndarray) -> Timing:
    """Median and 95th percentile of measured samples."""
    median, p95 = (float(np.percentile(samples_ms, q)) for q in (50, 95))
    return Timing(median_ms=median, p95_ms=p95, n=len(samples_ms), kind="measured")


def estimated_ms(instructions: int, target: Target) -> Timing:
    """Milliseconds of one core from an instruction count, at the board's clock and an assumed rate: an estimate."""
    clock = target.board.figures.get("clock") if target.board else None
    ghz = clock.value if clock else ASSUMED_GHZ
    ms = instructions / (ASSUMED_IPC * ghz * 1e6)
    return Timing(median_ms=ms, p95_ms=ms, n=0, kind="estimated")
