"""What the executor asks of a GPU: `Driver` is a real one, an interpreter of PTX plays one in tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from lampq_tvm.artifact.launches import Extent


class Gpu(Protocol):
    """A device with one stream; handles and addresses are integers.

    Attributes:
        name: what its vendor calls it.
        arch: `sm_87`.
        cuda: the newest CUDA that its driver serves, (major, minor).
        shared_bytes: the most shared memory that one block may have.
    """

    name: str
    arch: str
    cuda: tuple[int, int]
    shared_bytes: int

    def activate(self) -> None:
        """Make it the calling thread's device."""

    def load(self, cubin: bytes) -> int:
        """A module from a binary."""

    def function(self, module: int, entry: str, shared_bytes: int) -> int:
        """A kernel of a module, allowed to use that much dynamic shared memory."""

    def allocate(self, size: int) -> int:
        """The address of `size` bytes of device memory."""

    def pinned(self, size: int) -> np.ndarray:
        """[size] uint8 of host memory that the device copies from and to by itself."""

    def upload(self, address: int, array: np.ndarray) -> None:
        """Copy a contiguous array to the device and wait."""

    def download(self, address: int, size: int) -> np.ndarray:
        """Wait for the stream, then copy from the device: [size] uint8."""

    def copy_in(self, address: int, array: np.ndarray) -> None:
        """Queue a copy from pinned memory to the device."""

    def copy_out(self, array: np.ndarray, address: int) -> None:
        """Queue a copy from the device to pinned memory."""

    def launch(
        self,
        function: int,
        grid: Extent,
        block: Extent,
        shared_bytes: int,
        addresses: Sequence[int],
        early: bool = False,
    ) -> None:
        """Queue a kernel whose parameters are all addresses; `early`: it may start before the one before it has ended."""

    def capture(self, run: Callable[[], None]) -> int:
        """A graph of what `run` queues, which may be executed once."""

    def replay(self, graph: int) -> None:
        """Queue a graph."""

    def synchronize(self) -> None:
        """Wait for everything queued."""

    def seconds(self, run: Callable[[], None]) -> float:
        """Time of what `run` queues, by the device's own clock."""

    def clocks(self) -> dict[str, Any] | None:
        """The clocks that it runs at now; None where they cannot be read."""

    def close(self) -> None:
        """Give everything back; nothing may be called afterwards."""
