"""Memory that is given back leaves the process: large arrays get pages of their own, and free pages go back now and then."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

MMAP_THRESHOLD = -3  # glibc's number for it, of mallopt(3)
LARGE = 4 << 20  # bytes of an array with pages of its own; from 1 MiB on, getting pages takes half of the time again


@functools.cache
def _library() -> Any:
    return ctypes.CDLL(None)


@functools.cache
def large_arrays_apart() -> bool:
    """Keep glibc from putting large arrays onto its heaps, once a process; whether it could be told.

    By itself it raises the size from which an array has pages of its own, up to 32 MiB, each time that one is freed. Threads
    that compute with many large arrays then leave holes behind, and their heaps grow for as long as they work.
    """
    mallopt = getattr(_library(), "mallopt", None)  # other C libraries have none, or one that does nothing
    return mallopt is not None and bool(mallopt(MMAP_THRESHOLD, LARGE))


def give_back() -> None:
    """Return the free pages of all heaps to the system, where the C library can."""
    trim = getattr(_library(), "malloc_trim", None)
    if trim is not None:
        trim(0)
