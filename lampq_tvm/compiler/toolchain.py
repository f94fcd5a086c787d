"""What makes code of a target's kernels, beside this package: named in the keys of everything that was compiled."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
from pathlib import Path

from lampq_tvm.compiler.cuda.nvrtc import library_path
from lampq_tvm.compiler.linking import linker_version
from lampq_tvm.levels import TOOLKITS
from lampq_tvm.sources import library_version
from lampq_tvm.targets import Target

ENDS_BYTES = 64 << 10  # of a library that are read at each end: its build id, its tables of symbols and sections


def toolchain(target: Target) -> tuple[str, ...]:
    """The compilers and the linker that a target uses, and no others: TVM with the LLVM inside it, then NVRTC or a linker.

    Compilers are told by their libraries as well as by their packages' versions, for they can be built at home.
    """
    tvm = (library_version("apache-tvm"), library_mark(tvm_library()))
    if target.cuda_major is None:
        return (*tvm, linker_version(target.kind))
    name = TOOLKITS[target.cuda_major].package
    return (*tvm, name, library_version(name), library_mark(library_path(target.cuda_major)))


def tvm_library() -> Path | None:
    """TVM's compiler, where TVM itself looks for it; found without loading it, which takes seconds."""
    spec = importlib.util.find_spec("tvm")
    folders = [Path(place) / "lib" for place in (spec.submodule_search_locations or ())] if spec else []
    folders += [folder.parents[2] / place for folder in folders for place in ("build/lib", "lib")]
    own = os.environ.get("TVM_LIBRARY_PATH")
    places = (folder / "libtvm_compiler.so" for folder in [*([Path(own)] if own else []), *folders])
    return next((path for path in places if path.is_file()), None)


@functools.cache
def library_mark(path: Path | None) -> str:
    """What tells a library of hundreds of megabytes from another one: its size and both its ends; empty without one."""
    if path is None:
        return ""
    size = path.stat().st_size
    with path.open("rb") as file:
        h = hashlib.sha256(file.read(ENDS_BYTES))
        file.seek(max(0, size - ENDS_BYTES))
        h.update(file.read())
    return f"{size} {h.hexdigest()}"
