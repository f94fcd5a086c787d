"""The file that call.c reads a kernel's arguments from, and the one that it leaves the outputs in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

HEADER_WORDS, ARRAY_WORDS = 2, 12
ALIGNMENT = 64
FILLER = 77  # of outputs before the call: what a kernel leaves out shows
TYPE_CODES = {"i": 0, "u": 1, "f": 2}  # DLPack's


def write_case(path: Path, arrays: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
    """Store the arguments of a kernel, outputs last and filled with `FILLER` bytes."""
    every = [np.ascontiguousarray(a) for a in (*arrays, *outputs)]
    header = np.zeros((len(every), ARRAY_WORDS), np.int64)
    offset = 8 * (HEADER_WORDS + header.size)
    for row, array in zip(header, every, strict=True):
        offset = -(-offset // ALIGNMENT) * ALIGNMENT
        row[:5] = TYPE_CODES[array.dtype.kind], 8 * array.itemsize, array.ndim, offset, array.nbytes
        row[5 : 5 + array.ndim] = array.shape
        offset += array.nbytes
    with path.open("wb") as file:
        file.write(np.array([len(every), len(arrays)], np.int64).tobytes() + header.tobytes())
        for i, (row, array) in enumerate(zip(header, every, strict=True)):
            file.seek(int(row[3]))
            file.write(array.tobytes() if i < len(arrays) else bytes([FILLER]) * array.nbytes)


def read_outputs(path: Path, outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """What a kernel wrote, in the shapes and dtypes of `outputs`."""
    data, arrays, offset = path.read_bytes(), [], 0
    for output in outputs:
        arrays.append(np.frombuffer(data, output.dtype, output.size, offset).reshape(output.shape).copy())
        offset += output.nbytes
    return tuple(arrays)
