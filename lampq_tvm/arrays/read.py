"""`.npy` and `.npz` files of plain numbers, within limits that are checked before anything large is read.

Arrays are loaded where they have at most `FREE_BYTES`. A larger one is mapped from the disk where it lies there as it is (an
`.npy`, an `.npz` of `np.savez`); larger compressed ones must not be much larger than their file, and fit in half of the free
memory.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import psutil

from lampq_tvm.arrays.header import Header, read_header
from lampq_tvm.errors import UsageError

FREE_BYTES = 512 << 20  # loaded whatever the file's size
MOST_RATIO = 10  # of larger contents to the compressed bytes; photographs have 1 to 2, drawings up to 5
CHUNK = 1 << 20
FAULTS = (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, LookupError, OverflowError, RuntimeError,
    MemoryError,
)  # fmt: skip


class Bounded(io.BufferedReader):
    """A file that gives no more than `MOST` bytes at once, so that a directory of a zip cannot fill the memory."""

    MOST = 16 << 20

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes."""
        endless = size is None or size < 0
        found = super().read(self.MOST + 1 if endless else min(size or 0, self.MOST + 1))
        if len(found) > self.MOST:
            raise ValueError("a directory of its arrays that is too large")
        return found


def read_npy(path: Path | str) -> np.ndarray:
    """The array of an `.npy`; one above `FREE_BYTES` is mapped, read-only.

    Raises:
        UsageError: it is missing, broken, or holds anything but plain numbers.
    """
    path = Path(path)
    with _opened(path, ".npy") as file:
        header = read_header(file)
        held = path.stat().st_size - header.start
        if held != header.n_bytes:
            raise ValueError(f"its header says {header}, {header.n_bytes} bytes; {held} follow")
        return _load(path, file, header, header.start)


def read_npz(path: Path | str, names: Collection[str]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Some arrays of an `.npz`, those of them that it has.

    Args:
        path: the file; no pickle is ever loaded.
        names: the arrays that are wanted.

    Returns:
        The arrays by name, and the names of what else the file holds.

    Raises:
        UsageError: it is missing or broken, holds an array twice, other than plain numbers, or more than its size lets expect.
    """
    path = Path(path)
    with _opened(path, ".npz") as file, zipfile.ZipFile(file) as archive:
        members: dict[str, zipfile.ZipInfo] = {}
        for member in archive.infolist():
            if member.filename in members:
                raise ValueError(f"{member.filename!a} stands in it twice")
            members[member.filename] = member
        wanted = {name: members.pop(f"{name}.npy") for name in names if f"{name}.npy" in members}
        headers = {name: _header(archive, member, name) for name, member in wanted.items()}
        _check_size(list(wanted.values()), path.stat().st_size)
        arrays = {name: _member(path, archive, member, headers[name]) for name, member in wanted.items()}
        return arrays, tuple(name.removesuffix(".npy") for name in members)


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[Bounded]:
    """A regular file that is open; whatever goes wrong with its content is one line."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("no plain file")
        with Bounded(io.FileIO(path)) as file:
            yield file
    except FAULTS as e:
        raise UsageError(f"not a readable {kind} file ({_reason(e)})", where=str(path)) from e


def _reason(error: BaseException) -> str:
    """What went wrong, in a few words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return "larger than the free memory"
    return " ".join(str(error).split())[:200] or "truncated"


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Header:
    """The header of an array in a zip, which must say what the zip's directory says."""
    if member.flag_bits & 1:
        raise ValueError(f"{name!r} is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name!r} is compressed in a way that NumPy does not write")
    if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
        raise ValueError(f"{name!r} has two sizes")
    with archive.open(member) as content:
        header = read_header(content)  # type: ignore[arg-type]
    if header.start + header.n_bytes != member.file_size:
        what = f"{name!r} is said to be {header}, {header.n_bytes} bytes; {member.file_size - header.start} are there"
        raise ValueError(what)
    return header


def _check_size(members: list[zipfile.ZipInfo], file_bytes: int) -> None:
    """Raise ValueError where members would take more memory than the bytes of their file let expect, or than there is."""
    held = sum(m.file_size for m in members if not _is_mapped(m))
    if held <= FREE_BYTES:
        return
    free, expected = psutil.virtual_memory().available // 2, MOST_RATIO * file_bytes
    if held > min(free, expected):
        limit = f"half of the free memory, {free / 1e9:.1f} GB"
        limit = limit if free < expected else f"{MOST_RATIO} times its own {file_bytes / 1e6:.1f} MB"
        raise ValueError(f"{held / 1e9:.1f} GB of arrays, more than {limit}; save them uncompressed with np.savez")


def _is_mapped(member: zipfile.ZipInfo) -> bool:
    """Whether a member is left on the disk."""
    return member.compress_type == zipfile.ZIP_STORED and member.file_size > FREE_BYTES


def _member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, header: Header) -> np.ndarray:
    """One array of a zip; its checksum is verified."""
    with archive.open(member) as content:
        if not _is_mapped(member):
            content.read(header.start)
            return _fill(content, header)  # type: ignore[arg-type]
        while content.read(CHUNK):
            pass
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)  # the two lengths that precede the name in a local header
        name, extra = struct.unpack("<HH", file.read(4))
    return _map(path, header, member.header_offset + 30 + name + extra + header.start)


def _load(path: Path, file: BinaryIO, header: Header, start: int) -> np.ndarray:
    """The numbers that follow, or a view of them on the disk."""
    return _fill(file, header) if header.n_bytes <= FREE_BYTES else _map(path, header, start)


def _map(path: Path, header: Header, start: int) -> np.ndarray:
    """Numbers on the disk, read-only."""
    order: Any = header.order
    return np.memmap(path, header.dtype, "r", start, header.shape, order)


def _fill(file: BinaryIO, header: Header) -> np.ndarray:
    """The numbers that follow, read to the end of the file, where a zip's checksum is compared."""
    flat = np.empty(header.n_bytes, np.uint8)
    done = 0
    while chunk := file.read(CHUNK):
        if done + len(chunk) > len(flat):
            raise ValueError("more bytes than its header says")
        flat[done : done + len(chunk)] = np.frombuffer(chunk, np.uint8)
        done += len(chunk)
    if done != len(flat):
        raise ValueError("truncated")
    numbers = flat.view(header.dtype)
    return numbers.reshape(header.shape, order="F" if header.order == "F" else "C")
