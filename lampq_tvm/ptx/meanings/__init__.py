"""The meaning of every PTX instruction that this program's kernels use, one file per family.

Importing this package fills the library; `registry.find` looks an instruction up.
"""

from __future__ import annotations

from lampq_tvm.ptx.meanings import (
    access,
    asynchronous,
    atomic,
    compare,
    control,
    convert,
    dots,
    integer,
    logic,
    matrix,
    mma,
    move,
    single,
    warp,
    wmma,
)

FAMILIES = (
    *(access, asynchronous, atomic, compare, control, convert, dots, integer),
    *(logic, matrix, mma, move, single, warp, wmma),
)
