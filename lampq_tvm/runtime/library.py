"""Compiled code into this process: from memory, so that a board needs no room on a disk, and out of it again."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import tvm_ffi

from lampq_tvm.memfile import memory_file, path_of

_serial = itertools.count()


def load_library(library: bytes) -> Any:
    """The module of a shared library; it stays mapped as long as something of it is held.

    Raises:
        RuntimeError: it is no library for this machine.
        OutputError: this system runs nothing from memory, and the cache cannot be written either.
    """
    try:
        with memory_file(library) as handle:
            return load_path(path_of(handle))
    except (OSError, RuntimeError):  # hardened systems allow no such files, or run nothing in them
        from lampq_tvm.scratch import scratch
        from lampq_tvm.store import write_atomic

        with scratch("library") as folder:
            path = Path(folder) / "lib.so"
            write_atomic(path, library)
            return load_path(str(path))


def load_path(path: str) -> Any:
    """The module of a shared library in a file, which TVM's own `load_module` would keep until the process ends.

    The loader takes a library of a known name for the one it has, and handles are used again: each name is spelt anew.
    """
    folder, _, name = path.rpartition("/")
    spelt = format(next(_serial), "b").replace("0", "/").replace("1", "./")
    return tvm_ffi.get_global_func("ffi.Module.load_from_file.so")(f"{folder}/{spelt}{name}", "so")
