"""Compiled code by what it is made of, kept between tests, workers and runs: compiling the same kernels again takes the time.

A key holds the kernel itself as TVM writes it down, the target, the versions of the compilers and this project's own text
around them, so that a changed kernel is always compiled. Files are whole or not there, and a damaged one is made again.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import tvm
from tvm.tirx import PrimFunc

from lampq_tvm.compiler import build, linking
from lampq_tvm.compiler.cuda import build as cuda_build
from lampq_tvm.compiler.cuda import disassembly, nvrtc
from lampq_tvm.compiler.cuda import text as cuda_text
from lampq_tvm.compiler.cuda.nvrtc import Compiled
from lampq_tvm.compiler.cuda.text import CudaText
from lampq_tvm.latency import measure
from lampq_tvm.levels import TOOLKITS
from lampq_tvm.lower.module import Lowered
from lampq_tvm.resources import PACKAGE
from lampq_tvm.sources import library_version
from lampq_tvm.store import cache_dir, digest, write_atomic
from lampq_tvm.targets import Target

FOLDER = cache_dir() / "compiled-for-tests"  # of the run, whatever folder a test then names
UNUSED_S = 14 * 86400
SOURCES = ("compiler/build.py", "compiler/linking.py", "compiler/cuda/text.py", "compiler/cuda/nvrtc.py", "device/cross.py")


def kept(make: Callable[[], bytes], *parts: object) -> bytes:
    """What `make` makes of the parts, from the file that holds it where there is one."""
    path = FOLDER / digest(_versions(), *parts)
    with suppress(OSError):
        data = path.read_bytes()
        if hashlib.sha256(data[32:]).digest() == data[:32]:
            path.touch()
            return data[32:]
    made = make()
    write_atomic(path, hashlib.sha256(made).digest() + made)
    forget_unused()
    return made


@functools.cache
def forget_unused() -> None:
    """Remove what no run has used for two weeks; once a process."""
    for path in FOLDER.glob("*"):
        with suppress(OSError):  # another run was first
            if path.stat().st_mtime < time.time() - UNUSED_S:
                path.unlink()


@functools.cache
def _versions() -> list[object]:
    sources = [hashlib.sha256((PACKAGE / name).read_bytes()).hexdigest() for name in SOURCES]
    return [sources, *(library_version(name) for name in ("apache-tvm", "apache-tvm-ffi", "ziglang"))]


def library(module: tvm.IRModule, target: Target, compile_: Callable[[], bytes]) -> bytes:
    """A module's shared library."""
    return kept(compile_, "library", tvm.ir.save_json(module), target.tvm, linking.linker_version(target.kind))


def kernels_library(module: tvm.IRModule, target: Target) -> bytes:
    """The shared library of a module of kernels alone."""
    return library(module, target, lambda: _link(tvm.compile(module, target=tvm.target.Target(target.tvm)), target))


def assembly(module: tvm.IRModule, target: Target) -> str:
    """The assembly of a module of kernels."""

    def make() -> bytes:
        return tvm.compile(module, target=tvm.target.Target(target.tvm)).mod.inspect_source("asm").encode()

    return kept(make, "assembly", tvm.ir.save_json(module), target.tvm).decode()


def _link(executable: tvm.runtime.Executable, target: Target) -> bytes:
    with build.scratch("kernels") as folder:
        return linking.link_library(executable, target, Path(folder) / "lib.so").read_bytes()


def compiled_text(text: str, arch: str, major: int) -> Compiled:
    """`nvrtc.compile_text`."""

    def make() -> bytes:
        found = nvrtc.compile_text(text, arch, major)
        return json.dumps([found.cubin.hex(), found.ptx]).encode()

    cubin, ptx = json.loads(kept(make, "cubin", text, arch, library_version(TOOLKITS[major].package)))
    return Compiled(bytes.fromhex(cubin), ptx)


def text_of(func: PrimFunc, arch: str) -> CudaText:
    """`text.cuda_text`."""
    made = kept(
        lambda: json.dumps(dataclasses.asdict(cuda_text.cuda_text(func, arch))).encode(), "text", tvm.ir.save_json(func), arch
    )
    found = json.loads(made)
    return CudaText(found["text"], found["name"], tuple(found["params"]))


@contextmanager
def keeping() -> Iterator[None]:
    """Whatever this process compiles meanwhile is kept."""
    whole, look = build.compile_library, disassembly._run

    def compile_library(lowered: Lowered, target: Target) -> bytes:
        return library(lowered.module, target, lambda: whole(lowered, target))

    def run(name: str, cubin: bytes, option: str) -> str:
        tool = library_version("triton"), str(disassembly.tool(name))
        return kept(lambda: look(name, cubin, option).encode(), "look", name, option, tool, cubin).decode()

    with pytest.MonkeyPatch.context() as patch:
        for room in (build, measure):
            patch.setattr(room, "compile_library", compile_library)
        patch.setattr(cuda_build, "compile_text", compiled_text)
        patch.setattr(cuda_build, "cuda_text", text_of)
        patch.setattr(disassembly, "_run", run)
        yield


@pytest.fixture(autouse=True, scope="module")
def kept_code() -> Iterator[None]:
    """For modules, or folders, whose compiled code is kept."""
    with keeping():
        yield
