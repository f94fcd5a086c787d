"""The header of NumPy's array format, read strictly: plain numbers, whose sizes are known before any of them is read."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

MAGIC = b"\x93NUMPY"
LONGEST_HEADER = 1 << 16  # bytes; NumPy's own take 128
MOST_AXES = 32
# A dictionary of three entries, as NumPy and other writers of the format lay it out; it is matched, never evaluated.
ENTRIES = {
    "descr": re.compile(r"""['"]descr['"]\s*:\s*['"]([<>|=])?([biufc])(\d{1,2})['"]"""),
    "fortran_order": re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)"""),
    "shape": re.compile(r"""['"]shape['"]\s*:\s*\(((?:\s*\d{1,19}\s*,)*\s*(?:\d{1,19}\s*)?)\)"""),
}
OTHER = re.compile(r"""['"]descr['"]\s*:\s*['"]?([^'",}]{1,20})""")


@dataclass(frozen=True)
class Header:
    """What an array is.

    Attributes:
        dtype: of one number, in the file's byte order.
        shape: its axes.
        order: `C`, or `F` where the first axis runs fastest.
        start: bytes before the numbers.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    order: str
    start: int

    @property
    def n_bytes(self) -> int:
        """Bytes of all numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


def read_header(file: BinaryIO) -> Header:
    """Read the header at the beginning of a file.

    Raises:
        ValueError: this is no array of plain numbers; one line says why.
    """
    start = _exactly(file, 8)
    if start[:6] != MAGIC:
        raise ValueError("no array of NumPy's format")
    if start[6] not in (1, 2) or start[7] != 0:
        raise ValueError(f"version {start[6]}.{start[7]} of the array format, which holds no plain numbers or is newer")
    wide = 2 if start[6] == 1 else 4
    length = int.from_bytes(_exactly(file, wide), "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"a header of {length} bytes")
    return _parse(_exactly(file, length).decode("latin-1"), 8 + wide + length)


def _parse(text: str, start: int) -> Header:
    """The header in a text, whose entries are those that the format has and no others."""
    found = {key: entry.search(text) for key, entry in ENTRIES.items()}
    descr, fortran, shape = found["descr"], found["fortran_order"], found["shape"]
    if descr is None and (other := OTHER.search(text)) is not None:
        raise ValueError(f"elements of type {other[1]!a}, not plain numbers")
    if descr is None or fortran is None or shape is None:
        raise ValueError("a broken header")
    rest = text
    for match in (descr, fortran, shape):
        rest = rest.replace(match[0], "", 1)
    if re.fullmatch(r"\s*\{[\s,]*\}\s*", rest) is None:
        raise ValueError("a broken header")
    try:
        dtype = np.dtype((descr[1] or "") + descr[2] + descr[3])
    except TypeError as e:
        raise ValueError(f"elements of type {descr[2]}{descr[3]}, which there is not") from e
    axes = tuple(int(axis) for axis in shape[1].split(",") if axis.strip())
    if len(axes) > MOST_AXES or math.prod(axes) * dtype.itemsize >= 1 << 62 or any(axis >= 1 << 62 for axis in axes):
        raise ValueError("axes that no machine holds")
    return Header(dtype, axes, "F" if fortran[1] == "True" else "C", start)


def _exactly(file: BinaryIO, count: int) -> bytes:
    """The next bytes."""
    found = file.read(count)
    if len(found) != count:
        raise ValueError("it ends within its header")
    return found
