"""A compiled module becomes a shared library, by whichever linker is there for the target."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lampq_tvm.levels import CPU_ARCHES
from lampq_tvm.memfile import memory_file, path_of
from lampq_tvm.progress import note
from lampq_tvm.scratch import check_room, scratch
from lampq_tvm.sources import library_version
from lampq_tvm.targets import Target

# What `export_library` writes: the module's code, and that of the modules it imports.
OBJECTS = ("lib0.o", "devc.o")


def link_library(executable: Any, target: Target, path: Path) -> Path:
    """Link what `tvm.compile` made into the file `path`; returns it.

    LLVM ends the process where it cannot write an object, so it writes to memory, and the disk is written here.

    Raises:
        OutputError: the scratch space or the file's disk is full.
        RuntimeError: the linker refused.
    """
    with scratch("link") as folder, contextlib.ExitStack() as open_files:
        for name in OBJECTS:
            handle = open_files.enter_context(memory_file())
            (Path(folder) / name).symlink_to(path_of(handle))
        executable.export_library(str(path), workspace_dir=folder, fcompile=functools.partial(_link, linker(target)))
    return path


def linker(target: Target) -> list[str]:
    """Command of a linker: the system's compiler for this machine, a cross linker for a board."""
    compiler = _gcc(target.kind)
    if compiler is not None:
        return [compiler, "-shared", "-fPIC", "-Wl,--build-id=none"]
    from lampq_tvm.device.cross import cross_compiler

    return [cross_compiler(target.kind), "-shared", "-fPIC"]


@functools.cache
def linker_version(kind: str) -> str:
    """What the linker for a kind of target says about itself, for keys; of Zig its package's version."""
    compiler = _gcc(kind)
    if compiler is None:
        return f"zig {library_version('ziglang')}"
    commands = [[compiler, "--version"], [compiler, "-Wl,--version"]]
    said = [subprocess.run(command, capture_output=True, text=True, errors="replace").stdout for command in commands]
    return " ".join(text.partition("\n")[0] for text in said)


def _gcc(kind: str) -> str | None:
    name = CPU_ARCHES[kind].linker
    return None if name is None else shutil.which(name)


def _link(command: list[str], output: str, objects: Sequence[str], **_: Any) -> None:
    size = 0
    for name in map(Path, objects):
        code = name.read_bytes()
        name.unlink()
        name.write_bytes(code)
        size += len(code)
    folder = Path(objects[0]).parent
    env = {**os.environ, "TMPDIR": str(folder), "ZIG_LOCAL_CACHE_DIR": str(folder)}
    run = functools.partial(subprocess.run, capture_output=True, text=True, errors="replace", env=env)
    done = run([*command, "-o", output, *objects])
    if done.returncode:
        for place in (folder, Path(output).parent):  # each linker says it in its own words, or dies of a signal
            check_room(place, 2 * size)
        if _forget_libraries(command):
            done = run([*command, "-o", output, *objects])
    if done.returncode:
        raise RuntimeError(f"{command[0]} does not link ({' '.join(done.stderr.split())[:500]})")


def _forget_libraries(command: Sequence[str]) -> bool:
    """Remove what the cross linker keeps in the cache, which may be damaged; whether there was any."""
    from lampq_tvm.device.cross import zig_cache

    if not (Path(command[0]).is_relative_to(zig_cache().parent) and zig_cache().is_dir()):
        return False
    note(f"{zig_cache()}: the linker fails with what it holds; it is made again")
    left = Path(tempfile.mkdtemp(dir=zig_cache().parent, prefix="zig."))
    with contextlib.suppress(FileNotFoundError):  # another thread or process was first
        zig_cache().rename(left / "zig")
    shutil.rmtree(left, ignore_errors=True)
    return True
