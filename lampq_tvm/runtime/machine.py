"""Where compiled code runs: this process, or a TVM RPC server on a board."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax


class Machine:
    """A loaded library with its parameters, on a device.

    Args:
        library: bytes of the shared library.
        params: constant arguments, uploaded once.
        session: an RPC session, None for this process.
        threads: cores to use; all where None.
    """

    def __init__(
        self, library: bytes, params: Sequence[np.ndarray], session: Any = None, threads: int | None = None
    ) -> None:
        self.session = session
        self.device = tvm.cpu() if session is None else session.cpu()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lib.so"
            path.write_bytes(library)
            if session is None:
                module = tvm.runtime.load_module(str(path))
            else:
                session.upload(str(path), target="lampq_lib.so")
                module = session.load_module("lampq_lib.so")
        if threads is not None:
            self._function("runtime.config_threadpool")(1, threads)
        self.vm = relax.VirtualMachine(module, self.device)
        self.params = [self.tensor(p) for p in params]

    def _function(self, name: str) -> Any:
        return tvm.get_global_func(name) if self.session is None else self.session.get_function(name)

    def tensor(self, array: np.ndarray) -> Any:
        """An array on the device."""
        return tvm.runtime.tensor(np.ascontiguousarray(array), self.device)

    def call(self, function: str, image: np.ndarray, outputs: int = 1) -> list[np.ndarray]:
        """Run `main` or `trace` on an image batch; the outputs as arrays here."""
        self.vm.set_input(function, self.tensor(image), *self.params)
        self.vm.invoke_stateful(function)
        result = self.vm.get_outputs(function)
        return [r.numpy() for r in (result if outputs > 1 else [result])]

    def pixels(self, x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """uint8 pixels of a normalized float32 image batch."""
        pixels: np.ndarray = self.vm["pixels"](self.tensor(x), self.tensor(scale), self.tensor(shift)).numpy()
        return pixels

    def instructions(self, image: np.ndarray) -> int:
        """Instructions of one run of `main`, on a board that counts."""
        self.vm.save_function("main", "counted", self.tensor(image), *self.params, include_return=False)
        return int(self.session.count(self.vm.module, "counted"))

    def seconds(self, image: np.ndarray, repeat: int) -> list[float]:
        """Times of `main`, one sample per run, by the device's own timer."""
        self.vm.save_function("main", "timed", self.tensor(image), *self.params, include_return=False)
        timer = self.vm.time_evaluator("timed", self.device, number=1, repeat=repeat)
        return list(timer().results)
