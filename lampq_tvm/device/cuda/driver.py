"""A CUDA device through the driver API."""

from __future__ import annotations

import contextlib
import ctypes
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lampq_tvm.artifact.launches import Extent
from lampq_tvm.device.cuda.clocks import read_clocks
from lampq_tvm.device.cuda.library import NAME, CudaError, LaunchAttribute, LaunchConfig, Library
from lampq_tvm.errors import DeviceError

# Numbers of cuda.h, the same in every version.
CAPABILITY_MAJOR, CAPABILITY_MINOR, SHARED_OPTIN = 75, 76, 97  # CUdevice_attribute
MAX_DYNAMIC_SHARED = 8  # CUfunction_attribute
OUT_OF_MEMORY, NO_DEVICE, NO_BINARY = 2, 100, 209  # CUresult
PROGRAMMATIC_SERIALIZATION = 6  # CUlaunchAttributeID
EARLIEST_EARLY = 12, 3  # CUDA whose graphs keep early starts
STREAM_NON_BLOCKING, CAPTURE_THREAD_LOCAL = 1, 1
DEFAULT_SHARED_BYTES = 48 << 10  # a kernel has so much without asking


class Driver:
    """The first CUDA device of this machine (`CUDA_VISIBLE_DEVICES` chooses another), with one stream.

    Implements `gpu.Gpu`, whose docstrings say what each method does.

    Args:
        library: path of the driver library.

    Raises:
        DeviceError: no driver, no device, or a call that failed; from every method.
    """

    def __init__(self, library: str = NAME) -> None:
        self._library = lib = _open(library)
        self.cuda = lib.version
        self._device, name, total = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
        lib("cuDeviceGet", ctypes.byref(self._device), 0)
        lib("cuDeviceGetName", name, len(name), self._device)
        lib("cuDeviceTotalMem_v2", ctypes.byref(total), self._device)
        self.name, self.total_bytes = name.value.decode(errors="replace"), total.value
        self.arch = f"sm_{self._attribute(CAPABILITY_MAJOR)}{self._attribute(CAPABILITY_MINOR)}"
        self.shared_bytes = self._attribute(SHARED_OPTIN)
        self._context = ctypes.c_void_p()
        lib("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        self._owned: list[tuple[str, object]] = [("cuDevicePrimaryCtxRelease_v2", self._device)]
        self._release = weakref.finalize(self, _release, lib, self._context, self._owned)
        self._release.atexit = False  # the driver may be gone by then, and the process gives all back
        self.activate()
        self._stream = self._make("cuStreamCreate", STREAM_NON_BLOCKING, release="cuStreamDestroy_v2")
        self._start = self._make("cuEventCreate", 0, release="cuEventDestroy_v2")
        self._end = self._make("cuEventCreate", 0, release="cuEventDestroy_v2")

    @property
    def line(self) -> str:
        """Name, architecture, memory, and what its driver serves."""
        served = "{}.{}".format(*self.cuda)
        return f"{self.name}, {self.arch}, {self.total_bytes / 2**30:.1f} GiB, driver for CUDA {served}"

    def _attribute(self, attribute: int) -> int:
        value = ctypes.c_int()
        self._library("cuDeviceGetAttribute", ctypes.byref(value), attribute, self._device)
        return value.value

    def _make(self, entry: str, *arguments: object, release: str | None = None) -> int:
        """A handle or address from an entry point whose first argument receives it; `release` gives it back."""
        made = ctypes.c_uint64()
        self._library(entry, ctypes.byref(made), *arguments)
        if release is not None:
            self._owned.append((release, made.value))
        return made.value

    def activate(self) -> None:
        """Make it the calling thread's device."""
        self._library("cuCtxSetCurrent", self._context)

    def load(self, cubin: bytes) -> int:
        """A module from a binary."""
        try:
            return self._make("cuModuleLoadData", cubin, release="cuModuleUnload")
        except CudaError as e:
            if e.code == NO_BINARY:
                raise DeviceError(f"a kernel was not compiled for {self.arch}", where=self.name, hint="compile again") from e
            raise

    def function(self, module: int, entry: str, shared_bytes: int) -> int:
        """A kernel of a module, allowed to use that much dynamic shared memory."""
        if shared_bytes > self.shared_bytes:
            what = f"kernel {entry} needs {shared_bytes} bytes of shared memory, a block has {self.shared_bytes}"
            raise DeviceError(what, where=self.name, hint=f"compile for a target with {self.arch}")
        function = self._make("cuModuleGetFunction", module, entry.encode())
        if shared_bytes > DEFAULT_SHARED_BYTES:
            self._library("cuFuncSetAttribute", function, MAX_DYNAMIC_SHARED, shared_bytes)
        return function

    def allocate(self, size: int) -> int:
        """The address of `size` bytes of device memory."""
        try:
            return self._make("cuMemAlloc_v2", size, release="cuMemFree_v2")
        except CudaError as e:
            if e.code != OUT_OF_MEMORY:
                raise
            free, total = ctypes.c_size_t(), ctypes.c_size_t()
            self._library("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
            what = f"no room for {size} bytes of GPU memory ({free.value} of {total.value} are free)"
            raise DeviceError(what, where=self.name, hint="end other programs, or compile for a smaller batch") from e

    def pinned(self, size: int) -> np.ndarray:
        """[size] uint8 of host memory that the device copies from and to by itself."""
        address = self._make("cuMemHostAlloc", size, 0, release="cuMemFreeHost")
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def upload(self, address: int, array: np.ndarray) -> None:
        """Copy a contiguous array to the device and wait."""
        self._library("cuMemcpyHtoD_v2", address, array.ctypes.data, array.nbytes)
        self._library("cuStreamSynchronize", None)  # it may return early, and this object's stream waits for no other

    def download(self, address: int, size: int) -> np.ndarray:
        """Wait for the stream, then copy from the device: [size] uint8."""
        self.synchronize()
        array = np.empty(size, np.uint8)
        self._library("cuMemcpyDtoH_v2", array.ctypes.data, address, size)
        return array

    def copy_in(self, address: int, array: np.ndarray) -> None:
        """Queue a copy from pinned memory to the device."""
        self._library("cuMemcpyHtoDAsync_v2", address, array.ctypes.data, array.nbytes, self._stream)

    def copy_out(self, array: np.ndarray, address: int) -> None:
        """Queue a copy from the device to pinned memory."""
        self._library("cuMemcpyDtoHAsync_v2", array.ctypes.data, address, array.nbytes, self._stream)

    def launch(
        self,
        function: int,
        grid: Extent,
        block: Extent,
        shared_bytes: int,
        addresses: Sequence[int],
        early: bool = False,
    ) -> None:
        """Queue a kernel whose parameters are all addresses; drivers before CUDA 12.3 start none early."""
        values = [ctypes.c_uint64(address) for address in addresses]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        if early and self.cuda >= EARLIEST_EARLY:
            attribute = LaunchAttribute(PROGRAMMATIC_SERIALIZATION, b"", (1,))
            config = LaunchConfig(*grid, *block, shared_bytes, self._stream, ctypes.pointer(attribute), 1)
            self._library("cuLaunchKernelEx", ctypes.byref(config), function, pointers, None)
            return
        self._library("cuLaunchKernel", function, *grid, *block, shared_bytes, self._stream, pointers, None)

    def capture(self, run: Callable[[], None]) -> int:
        """A graph of what `run` queues, after executing it once: kernels that load lazily cannot load during a capture."""
        graph = ctypes.c_void_p()
        run()
        self.synchronize()
        self._library("cuStreamBeginCapture_v2", self._stream, CAPTURE_THREAD_LOCAL)
        try:
            run()
        except BaseException:
            with contextlib.suppress(DeviceError):  # the first failure is the one to tell
                self._library("cuStreamEndCapture", self._stream, ctypes.byref(graph))
            raise
        self._library("cuStreamEndCapture", self._stream, ctypes.byref(graph))
        try:
            return self._make("cuGraphInstantiateWithFlags", graph, 0, release="cuGraphExecDestroy")
        finally:
            self._library("cuGraphDestroy", graph)

    def replay(self, graph: int) -> None:
        """Queue a graph."""
        self._library("cuGraphLaunch", graph, self._stream)

    def synchronize(self) -> None:
        """Wait for everything queued."""
        self._library("cuStreamSynchronize", self._stream)

    def seconds(self, run: Callable[[], None]) -> float:
        """Time of what `run` queues, by events on the stream."""
        elapsed_ms = ctypes.c_float()
        self._library("cuEventRecord", self._start, self._stream)
        run()
        self._library("cuEventRecord", self._end, self._stream)
        self._library("cuEventSynchronize", self._end)
        self._library("cuEventElapsedTime", ctypes.byref(elapsed_ms), self._start, self._end)
        return elapsed_ms.value / 1e3

    def clocks(self) -> dict[str, Any] | None:
        """The clocks that it runs at now, by nvidia-smi or a Jetson's kernel."""
        return read_clocks()

    def close(self) -> None:
        """Give everything back; nothing may be called afterwards."""
        self._release()


def _open(path: str) -> Library:
    try:
        return Library(path)
    except CudaError as e:
        if e.code == NO_DEVICE:
            hint = "see that nvidia-smi (on a Jetson: tegrastats) shows one"
            raise DeviceError("the CUDA driver finds no device", hint=hint) from e
        raise


def _release(library: Library, context: ctypes.c_void_p, owned: list[tuple[str, object]]) -> None:
    """Give back in the order opposite to taking; a device that failed has nothing left to give back."""
    with contextlib.suppress(DeviceError):
        library("cuCtxSetCurrent", context)
    while owned:
        entry, handle = owned.pop()
        with contextlib.suppress(DeviceError):
            library(entry, handle)
