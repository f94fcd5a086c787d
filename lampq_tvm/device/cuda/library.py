"""libcuda by ctypes: the entry points that exist, with the same meaning, from CUDA 11.4 to 13.

Names and types are those of `cuda.h`; `_v2` names are the ones that its macros have stood for since CUDA 3.2 to 11.
"""

from __future__ import annotations

import ctypes

from lampq_tvm.errors import DeviceError

NAME = "libcuda.so.1"
ENUM, UINT, SIZE, ADDRESS = ctypes.c_int, ctypes.c_uint, ctypes.c_size_t, ctypes.c_uint64
HANDLE, TEXT, FLAGS = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ulonglong
POINTER = ctypes.c_void_p  # to a result; `ctypes.byref` is accepted
ENTRIES: dict[str, tuple[type, ...]] = {
    "cuInit": (UINT,),
    "cuDriverGetVersion": (POINTER,),
    "cuGetErrorName": (ENUM, POINTER),
    "cuGetErrorString": (ENUM, POINTER),
    "cuDeviceGetCount": (POINTER,),
    "cuDeviceGet": (POINTER, ENUM),
    "cuDeviceGetName": (TEXT, ENUM, ENUM),
    "cuDeviceGetAttribute": (POINTER, ENUM, ENUM),
    "cuDeviceTotalMem_v2": (POINTER, ENUM),
    "cuDevicePrimaryCtxRetain": (POINTER, ENUM),
    "cuDevicePrimaryCtxRelease_v2": (ENUM,),
    "cuCtxSetCurrent": (HANDLE,),
    "cuMemGetInfo_v2": (POINTER, POINTER),
    "cuModuleLoadData": (POINTER, TEXT),
    "cuModuleUnload": (HANDLE,),
    "cuModuleGetFunction": (POINTER, HANDLE, TEXT),
    "cuFuncSetAttribute": (HANDLE, ENUM, ENUM),
    "cuMemAlloc_v2": (POINTER, SIZE),
    "cuMemFree_v2": (ADDRESS,),
    "cuMemHostAlloc": (POINTER, SIZE, UINT),
    "cuMemFreeHost": (HANDLE,),
    "cuMemcpyHtoD_v2": (ADDRESS, HANDLE, SIZE),
    "cuMemcpyDtoH_v2": (HANDLE, ADDRESS, SIZE),
    "cuMemcpyHtoDAsync_v2": (ADDRESS, HANDLE, SIZE, HANDLE),
    "cuMemcpyDtoHAsync_v2": (HANDLE, ADDRESS, SIZE, HANDLE),
    "cuStreamCreate": (POINTER, UINT),
    "cuStreamSynchronize": (HANDLE,),
    "cuStreamDestroy_v2": (HANDLE,),
    "cuStreamBeginCapture_v2": (HANDLE, ENUM),
    "cuStreamEndCapture": (HANDLE, POINTER),
    "cuGraphInstantiateWithFlags": (POINTER, HANDLE, FLAGS),
    "cuGraphLaunch": (HANDLE, HANDLE),
    "cuGraphExecDestroy": (HANDLE,),
    "cuGraphDestroy": (HANDLE,),
    "cuEventCreate": (POINTER, UINT),
    "cuEventRecord": (HANDLE, HANDLE),
    "cuEventSynchronize": (HANDLE,),
    "cuEventElapsedTime": (POINTER, HANDLE, HANDLE),
    "cuEventDestroy_v2": (HANDLE,),
    "cuLaunchKernel": (HANDLE, UINT, UINT, UINT, UINT, UINT, UINT, UINT, HANDLE, POINTER, POINTER),
}
NEWER = {"cuLaunchKernelEx": (POINTER, HANDLE, POINTER, POINTER)}  # since CUDA 11.8
OLDEST = (11, 4)


class LaunchAttribute(ctypes.Structure):
    """`CUlaunchAttribute` of an attribute whose value is an int."""

    _fields_ = [("id", ENUM), ("pad", ctypes.c_char * 4), ("value", ENUM * 16)]


class LaunchConfig(ctypes.Structure):
    """`CUlaunchConfig`."""

    _fields_ = [
        *((f"{kind}_{axis}", UINT) for kind in ("grid", "block") for axis in "xyz"),
        ("shared_bytes", UINT),
        ("stream", HANDLE),
        ("attributes", ctypes.POINTER(LaunchAttribute)),
        ("count", UINT),
    ]


class Library:
    """The loaded driver library; every call is checked.

    Args:
        path: another library with the same entry points.

    Raises:
        DeviceError: there is none, it is older than CUDA 11.4, or it finds no device.
    """

    def __init__(self, path: str = NAME) -> None:
        try:
            self._library = ctypes.CDLL(path)
        except OSError as e:
            hint = "install NVIDIA's driver (on a Jetson: JetPack), or use a target of this machine's CPU"
            raise DeviceError(f"there is no CUDA driver ({path})", hint=hint) from e
        self._bind("cuDriverGetVersion")
        found = ctypes.c_int()
        self("cuDriverGetVersion", ctypes.byref(found))
        self.version = found.value // 1000, found.value % 1000 // 10
        if self.version < OLDEST:
            what = "the CUDA driver serves CUDA {}.{}, 11.4 is the oldest that works".format(*self.version)
            raise DeviceError(what, hint="update the driver (on a Jetson: JetPack 5 or later)")
        for name in ENTRIES:
            self._bind(name)
        self("cuInit", 0)

    def __call__(self, name: str, *arguments: object) -> None:
        """Call an entry point.

        Raises:
            DeviceError: it did not return CUDA_SUCCESS.
        """
        if name in NEWER:
            self._bind(name)
        code = getattr(self._library, name)(*arguments)
        if code:
            raise CudaError(name, code, self._words(code))

    def _bind(self, name: str) -> None:
        try:
            function = getattr(self._library, name)
        except AttributeError as e:
            hint = "update the driver (on a Jetson: JetPack 5 or later)"
            raise DeviceError(f"the CUDA driver has no {name}", hint=hint) from e
        function.argtypes, function.restype = (ENTRIES | NEWER)[name], ctypes.c_int

    def _words(self, code: int) -> str:
        """CUDA's name of an error and what it says about it."""
        words = []
        for entry in ("cuGetErrorName", "cuGetErrorString"):
            text = ctypes.c_char_p()
            function = getattr(self._library, entry)
            function.argtypes = ENTRIES[entry]
            if not function(code, ctypes.byref(text)) and text.value:
                words.append(text.value.decode(errors="replace"))
        return ", ".join(words) or f"error {code}"


class CudaError(DeviceError):
    """A driver call that failed.

    Attributes:
        entry: the entry point.
        code: its CUresult.
    """

    def __init__(self, entry: str, code: int, words: str) -> None:
        self.entry, self.code = entry, code
        super().__init__(f"{entry} failed ({words})", hint="lampq doctor says what the driver and the device are")
