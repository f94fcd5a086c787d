"""CUDA text to PTX and cubin by NVRTC, which is one library in a wheel: no toolkit, no headers, no GPU.

A cubin loads on a driver of its compiler's CUDA major or a newer one, so a board of JetPack 5 wants NVRTC 11, JetPack 6
NVRTC 12, JetPack 7 NVRTC 13; and NVRTC 13 no longer knows Volta, Pascal and Maxwell.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from lampq_tvm.errors import LampqError, UnsupportedError
from lampq_tvm.levels import TOOLKITS

# Contract 1: no contraction, IEEE's division and root, denormals kept.
OPTIONS = ("--std=c++17", "--fmad=false", "--prec-div=true", "--prec-sqrt=true", "--ftz=false")


@dataclass(frozen=True)
class Compiled:
    """A compiled kernel: the binary for one architecture, and the PTX that it was assembled from."""

    cubin: bytes
    ptx: str


def compile_text(text: str, arch: str, major: int) -> Compiled:
    """Compile CUDA text that includes nothing.

    Args:
        arch: `sm_87`, ...
        major: of CUDA: 11, 12 or 13.

    Raises:
        UnsupportedError: that compiler is not installed, or does not know the architecture.
    """
    library = _library(major)
    program = ctypes.c_void_p()
    _check(library, library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None))
    try:
        options = [option.encode() for option in (f"--gpu-architecture={arch}", *OPTIONS)]
        code = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
        if code:
            log = _get(library, program, "ProgramLog").decode(errors="replace").strip()
            if "gpu-architecture" in log:
                raise UnsupportedError(f"CUDA {major}'s compiler does not know {arch}", hint="choose another JetPack level")
            raise LampqError(f"a CUDA kernel does not compile for {arch} ({log.splitlines()[0] if log else code})")
        return Compiled(_get(library, program, "CUBIN"), _get(library, program, "PTX").rstrip(b"\0").decode())
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def available() -> tuple[int, ...]:
    """CUDA majors whose compiler is installed."""
    return tuple(major for major in TOOLKITS if library_path(major))


def library_path(major: int) -> Path | None:
    """Where a wheel put a CUDA major's compiler; all of them share the namespace package `nvidia`."""
    spec = importlib.util.find_spec("nvidia")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    places = (Path(f) / name / "lib" / TOOLKITS[major].library for f in folders for name in ("cuda_nvrtc", f"cu{major}"))
    return next((path for path in places if path.is_file()), None)


def _get(library: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(library, library[f"nvrtcGet{what}Size"](program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(library, library[f"nvrtcGet{what}"](program, buffer))
    return buffer.raw


def _check(library: ctypes.CDLL, code: int) -> None:
    if code:
        raise LampqError(f"NVRTC failed ({library.nvrtcGetErrorString(code).decode()})")


@functools.cache
def _library(major: int) -> ctypes.CDLL:
    path = library_path(major)
    if path is None:
        hint = f"install lampq-tvm[compile] again, or {TOOLKITS[major].package}"
        raise UnsupportedError(f"CUDA {major}'s compiler is not installed", hint=hint)
    library = ctypes.CDLL(str(path))
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library
