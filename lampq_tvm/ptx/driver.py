"""A GPU that is played: the executor's launches run by the interpreter, from the PTX that each binary was assembled from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lampq_tvm.artifact.launches import Extent
from lampq_tvm.errors import DeviceError
from lampq_tvm.levels import GPU_ARCHES
from lampq_tvm.ptx.memory import Memory
from lampq_tvm.ptx.module import Module
from lampq_tvm.ptx.parse import parse
from lampq_tvm.ptx.run import launch


class PtxDriver:
    """A device with the interface of `device.cuda.driver.Driver`; its times mean nothing.

    Args:
        ptx: the PTX of every binary that will be loaded.
        arch: of the GPU that is played.
        shared_bytes: the most shared memory of a block; the arch's where None.
        check: watch shared memory for races and unwritten bytes.
    """

    def __init__(self, ptx: Mapping[bytes, str], arch: str, *, shared_bytes: int | None = None, check: bool = True) -> None:
        self.name, self.arch, self.cuda = "PTX interpreter", arch, (13, 0)
        self.shared_bytes = GPU_ARCHES[arch].shared_bytes if shared_bytes is None else shared_bytes
        self.memory = Memory()
        self._ptx, self._check = dict(ptx), check
        self._modules: list[Module] = []
        self._functions: list[tuple[Module, str, int]] = []
        self._graphs: list[list[Callable[[], None]]] = []
        self._recorded: list[Callable[[], None]] | None = None

    def activate(self) -> None:
        """There is no context."""

    def load(self, cubin: bytes) -> int:
        """A module from the PTX that belongs to a binary."""
        if cubin not in self._ptx:
            raise DeviceError("this binary's PTX is not at hand", where=self.name, hint="keep it when the kernel is compiled")
        self._modules.append(parse(self._ptx[cubin]))
        return len(self._modules) - 1

    def function(self, module: int, entry: str, shared_bytes: int) -> int:
        """A kernel of a module."""
        found = self._modules[module]
        if entry not in found.entries or shared_bytes > self.shared_bytes:
            what = f"kernel {entry} is not there, or asks for more than {self.shared_bytes} bytes of shared memory"
            raise DeviceError(what, where=self.name)
        self._functions.append((found, entry, shared_bytes))
        return len(self._functions) - 1

    def allocate(self, size: int) -> int:
        """The address of `size` bytes."""
        return self.memory.alloc(size)

    def pinned(self, size: int) -> np.ndarray:
        """[size] uint8."""
        return np.zeros(size, np.uint8)

    def upload(self, address: int, array: np.ndarray) -> None:
        """Copy an array to the memory."""
        self.memory.write(address, array)

    def download(self, address: int, size: int) -> np.ndarray:
        """Copy from the memory: [size] uint8."""
        return self.memory.read(address, size)

    def copy_in(self, address: int, array: np.ndarray) -> None:
        """Copy an array to the memory."""
        self._do(lambda: self.memory.write(address, array))

    def copy_out(self, array: np.ndarray, address: int) -> None:
        """Copy from the memory into an array."""
        self._do(lambda: np.copyto(array, self.memory.read(address, array.nbytes)))

    def launch(
        self,
        function: int,
        grid: Extent,
        block: Extent,
        shared_bytes: int,
        addresses: Sequence[int],
        early: bool = False,
    ) -> None:
        """Interpret a kernel, which starts when the one before it has ended."""
        module, entry, allowed = self._functions[function]
        if shared_bytes > allowed:
            raise DeviceError(f"kernel {entry} may use {allowed} bytes of shared memory, not {shared_bytes}", where=self.name)
        values = list(addresses)

        def run() -> None:
            launch(module, entry, grid, block, shared_bytes, values, self.memory, check=self._check)

        self._do(run)

    def capture(self, run: Callable[[], None]) -> int:
        """What `run` queues, kept and not executed."""
        recorded: list[Callable[[], None]] = []
        self._recorded = recorded
        try:
            run()
        finally:
            self._recorded = None
        self._graphs.append(recorded)
        return len(self._graphs) - 1

    def replay(self, graph: int) -> None:
        """Execute what was captured."""
        for step in self._graphs[graph]:
            step()

    def synchronize(self) -> None:
        """Everything is done when it is queued."""

    def seconds(self, run: Callable[[], None]) -> float:
        """Seconds of this machine, which say nothing about any GPU."""
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    def clocks(self) -> None:
        """It has none."""

    def close(self) -> None:
        """Forget everything."""
        self.memory = Memory()

    def _do(self, step: Callable[[], None]) -> None:
        """Now, or when the graph that is being captured is replayed."""
        if self._recorded is None:
            step()
        else:
            self._recorded.append(step)
