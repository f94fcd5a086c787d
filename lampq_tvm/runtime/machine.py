"""Where compiled code runs: this process, or a TVM RPC server on a board."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import tvm
from tvm.runtime.vm import VirtualMachine

from lampq_tvm.runtime.library import load_library

if TYPE_CHECKING:
    from lampq_tvm.device.rpc import Session

T = TypeVar("T")


def count_cores() -> None:
    """Tell TVM, before its thread pool starts, how many cores there are: it takes half of them for hyper-threads."""
    os.environ.setdefault("TVM_NUM_THREADS", str(len(os.sched_getaffinity(0))))


def cache_class() -> str | None:
    """First and second level data cache of a core of this machine, `32K/1024K`; None where Linux does not say."""
    sizes = {}
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        kind, level, size = ((folder / name).read_text().strip() for name in ("type", "level", "size"))
        if kind != "Instruction":
            sizes[level] = size
    return "/".join(sizes[level] for level in ("1", "2")) if {"1", "2"} <= sizes.keys() else None


class Machine:
    """A loaded library with its parameters, on a device, for one thread at a time.

    Args:
        library: bytes of the shared library.
        params: constant arguments, uploaded once.
        session: a session with a board, None for this process.
        threads: cores to use; all where None.

    Raises:
        DeviceError: the board does not answer, from every method.
    """

    def __init__(
        self, library: bytes, params: Sequence[np.ndarray], session: Session | None = None, threads: int | None = None
    ) -> None:
        self.session = session
        count_cores()
        self.device = tvm.cpu() if session is None else session.cpu()
        module = load_library(library) if session is None else session.load_library(library)
        if threads is not None:
            find = tvm.get_global_func if session is None else session.get_function
            self._call(lambda: find("runtime.config_threadpool")(1, threads))
        self.vm = self._call(lambda: VirtualMachine(module, self.device))
        self.params = [self.tensor(p) for p in params]
        self._images: dict[str, Any] = {}  # inputs that functions keep in this process: handing over all parameters takes time

    def _call(self, run: Callable[[], T]) -> T:
        return run() if self.session is None else self.session.call(run)

    def tensor(self, array: np.ndarray) -> Any:
        """An array on the device."""
        return self._call(lambda: tvm.runtime.tensor(np.ascontiguousarray(array), self.device))

    def call(self, function: str, image: np.ndarray, outputs: int = 1) -> list[np.ndarray]:
        """Run `main` or `trace` on an image batch; the outputs as arrays here."""

        def run() -> list[np.ndarray]:
            if function in self._images:
                self._images[function].copyfrom(image)
            else:
                given = self.tensor(image)
                self.vm.set_input(function, given, *self.params)
                if self.session is None:  # a board's virtual machine keeps a copy instead
                    self._images[function] = given
            self.vm.invoke_stateful(function)
            result = self.vm.get_outputs(function)
            return [r.numpy() for r in (result if outputs > 1 else [result])]

        return self._call(run)

    def pixels(self, x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """uint8 pixels of a normalized float32 image batch."""
        arguments = [self.tensor(a) for a in (x, scale, shift)]
        pixels: np.ndarray = self._call(lambda: self.vm["pixels"](*arguments).numpy())
        return pixels

    def seconds(self, image: np.ndarray, repeat: int) -> list[float]:
        """Times of `main`, one sample per run, by the device's own timer."""
        self._save("timed", image)
        timer = self.vm.time_evaluator("timed", self.device, number=1, repeat=repeat)
        return self._call(lambda: list(timer().results))

    def instructions(self, image: np.ndarray) -> int:
        """Instructions of one run of `main`, on a board that counts."""
        return self.cycles(image)[0]

    def cycles(self, image: np.ndarray) -> tuple[int, float | None]:
        """Instructions of one run of `main` and the cycles estimated from them (None for a core without figures)."""
        if self.session is None:
            raise ValueError("only a board's session counts instructions")
        self._save("counted", image)
        self.session.count(self.vm.module, "counted")  # the first call allocates memory
        return self.session.count_cycles(self.vm.module, "counted")

    def _save(self, name: str, image: np.ndarray) -> None:
        arguments = [self.tensor(image), *self.params]
        self._call(lambda: self.vm.save_function("main", name, *arguments, include_return=False))
