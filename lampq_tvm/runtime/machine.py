"""Where compiled code runs: this process, or a TVM RPC server on a board."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import tvm
from tvm.runtime.vm import VirtualMachine

from lampq_tvm.runtime.library import load_library
from lampq_tvm.runtime.sharing import take_lane
from lampq_tvm.spread import set_up_kernel_threads

if TYPE_CHECKING:
    from lampq_tvm.device.rpc import Session

T = TypeVar("T")
SET_THREADS, BIG_CORES = "runtime.config_threadpool", 1  # with 0 threads: all of them, as at first


def cache_class() -> str | None:
    """First and second level data cache of a core of this machine, `32K/1024K`; None where Linux does not say."""
    sizes = {}
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        kind, level, size = ((folder / name).read_text().strip() for name in ("type", "level", "size"))
        if kind != "Instruction":
            sizes[level] = size
    return "/".join(sizes[level] for level in ("1", "2")) if {"1", "2"} <= sizes.keys() else None


class Machine:
    """A loaded library with its parameters, on a device, for one thread at a time, whichever.

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
        set_up_kernel_threads()
        self._lane = take_lane()
        self._give_back = weakref.finalize(self, self._lane.give_back)
        self.device = tvm.cpu() if session is None else session.cpu()
        if session is None:
            self._lane.prepare(lambda: tvm.get_global_func(SET_THREADS)(BIG_CORES, threads or 0))
        elif threads is not None:
            self._call(lambda: session.get_function(SET_THREADS)(BIG_CORES, threads))
        load = load_library if session is None else session.load_library
        self.vm: Any = self._call(lambda: VirtualMachine(load(library), self.device))
        self.params = [self._call(functools.partial(self._tensor, p)) for p in params]
        self._images: dict[str, Any] = {}  # inputs that functions keep in this process: handing over all parameters takes time

    def _call(self, run: Callable[[], T]) -> T:
        return self._lane.run(run) if self.session is None else self.session.call(run)

    def _tensor(self, array: np.ndarray) -> Any:
        return tvm.runtime.tensor(np.asarray(array, order="C"), self.device)

    def call(self, function: str, image: np.ndarray, outputs: int = 1) -> list[np.ndarray]:
        """Run `main` or `trace` on an image batch; the outputs as arrays here."""

        def run() -> list[np.ndarray]:
            if function in self._images:
                self._images[function].copyfrom(image)
            else:
                given = self._tensor(image)
                self.vm.set_input(function, given, *self.params)
                if self.session is None:  # a board's virtual machine keeps a copy instead
                    self._images[function] = given
            self.vm.invoke_stateful(function)
            result = self.vm.get_outputs(function)
            return [r.numpy() for r in (result if outputs > 1 else [result])]

        return self._call(run)

    def pixels(self, x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """uint8 pixels of a normalized float32 image batch."""

        def run() -> np.ndarray:
            pixels: np.ndarray = self.vm["pixels"](*(self._tensor(a) for a in (x, scale, shift))).numpy()
            return pixels

        return self._call(run)

    def seconds(self, image: np.ndarray, repeat: int) -> list[float]:
        """Times of `main`, one sample per run, by the device's own timer."""

        def run() -> list[float]:
            self._save("timed", image)
            return list(self.vm.time_evaluator("timed", self.device, number=1, repeat=repeat)().results)

        return self._call(run)

    def instructions(self, image: np.ndarray) -> int:
        """Instructions of one run of `main`, on a board that counts."""
        return self.cycles(image)[0]

    def cycles(self, image: np.ndarray) -> tuple[int, float | None]:
        """Instructions of one run of `main` and the cycles estimated from them (None for a core without figures)."""
        if self.session is None:
            raise ValueError("only a board's session counts instructions")
        self._call(lambda: self._save("counted", image))
        self.session.count(self.vm.module, "counted")  # the first call allocates memory
        return self.session.count_cycles(self.vm.module, "counted")

    def _save(self, name: str, image: np.ndarray) -> None:
        self.vm.save_function("main", name, self._tensor(image), *self.params, include_return=False)

    def close(self) -> None:
        """Give back what this process holds of it: library, parameters, memory; nothing may be called afterwards."""
        self.vm, self.params, self._images = None, [], {}
        if self.session is None:
            self._call(tvm.get_global_func("vm.builtin.memory_manager.clear"))  # kept for a next call otherwise
        self._give_back()
