"""A linker for any target without root: Zig's C compiler from its Python package, against glibc 2.28."""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
from pathlib import Path

from lampq_tvm.errors import UsageError
from lampq_tvm.levels import CPU_ARCHES
from lampq_tvm.progress import note
from lampq_tvm.store import cache_dir, digest, write_atomic

# What TVM's own wheels need; JetPack 5 and Debian 10 have newer ones.
GLIBC = "2.28"


def cross_compiler(kind: str) -> str:
    """Path of a command for `export_library(cc=...)`, the same for the host and for boards.

    Args:
        kind: `x86` or `aarch64`.

    Raises:
        UsageError: ziglang is not installed.
        OutputError: the cache folder cannot be written.
    """
    if importlib.util.find_spec("ziglang") is None:
        raise UsageError("the linker (ziglang) is not installed", hint="pip install 'lampq-tvm[compile]'")
    # Without build ids and debug sections equal objects give equal files.
    options = ["-target", f"{CPU_ARCHES[kind].triple}.{GLIBC}", "-s", "-Wl,--build-id=none"]
    zig = shlex.quote(str(zig_cache()))
    text = (
        f'#!/bin/sh\nexport ZIG_GLOBAL_CACHE_DIR={zig} ZIG_LOCAL_CACHE_DIR="${{ZIG_LOCAL_CACHE_DIR:-{zig}}}"\n'
        f'exec {shlex.quote(sys.executable)} -m ziglang cc {shlex.join(options)} "$@"\n'
    )
    path = cache_dir().absolute() / f"link-{kind}-{digest(text)[:12]}"
    if not (os.access(path, os.X_OK) and path.read_bytes() == text.encode()):
        if path.exists():
            note(f"{path}: it is damaged; it is made again")
        write_atomic(path, text.encode(), 0o755)
    return str(path)


def zig_cache() -> Path:
    """Where zig keeps the system libraries that it links with; it makes them where they are missing."""
    return cache_dir().absolute() / "zig"
