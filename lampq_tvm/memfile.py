"""Files that lie in memory: what TVM, the loader and tools read or write by a file's name needs no disk, which may be full."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def memory_file(data: bytes = b"") -> Iterator[int]:
    """A file that lies in memory and holds `data`; its handle. It is gone when nothing has it open or mapped any more.

    Raises:
        OSError: this system has no such files.
    """
    handle = os.memfd_create("lampq")
    with open(handle, "r+b", buffering=0) as file:
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]
        yield handle


def path_of(handle: int) -> str:
    """The name under which this process opens a file that it holds open; for a child, `pass_fds` keeps it."""
    return f"/proc/self/fd/{handle}"


def captured(write: Callable[[str], object]) -> bytes:
    """What a function writes to a file of the name it is given.

    Raises:
        OSError: this system has no such files.
    """
    with memory_file() as handle:
        write(path_of(handle))
        with open(path_of(handle), "rb") as file:
            return file.read()
