"""The running instruction count of an emulated board, as the code that runs on it sees it."""

from __future__ import annotations

import array
import gc
import itertools
import os
from collections.abc import Callable
from pathlib import Path

from lampq_tvm.device.classes import CPUS, CYCLES, ROW

VARIABLE = "LAMPQ_COUNTER"
SLOTS_BYTES = 8 * CPUS * ROW
WARM_UP = 2
ROUNDS = 3


def read_counter(path: str | None = None) -> int:
    """Instructions executed so far by all threads; -1 where nothing counts them.

    Args:
        path: the plugin's file of uint64 slots, a row per virtual CPU; by default the one named by `$LAMPQ_COUNTER`.
    """
    file = path or os.environ.get(VARIABLE)
    if not file or not Path(file).exists():
        return -1
    slots = array.array("Q", Path(file).read_bytes())
    return sum(slots) - sum(slots[CYCLES::ROW])


def count_call(call: Callable[[], object]) -> list[int]:
    """What one `call` adds to the counter on the board that this runs on: two calls minus one, so that reading it cancels out.

    The median of a few such differences: the interpreter's own bookkeeping now and then takes a hundred more.

    Returns:
        A row of slots (classes.py); empty where nothing counts.
    """
    if read_counter() < 0:
        return []
    for _ in range(WARM_UP):  # loads what is loaded lazily
        call()
    file = os.open(os.environ[VARIABLE], os.O_RDONLY)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        marks = [os.pread(file, SLOTS_BYTES, 0)]
        for _ in range(ROUNDS):
            call()
            marks.append(os.pread(file, SLOTS_BYTES, 0))
            call()
            call()
            marks.append(os.pread(file, SLOTS_BYTES, 0))
    finally:
        os.close(file)
        if collecting:
            gc.enable()
    rows = [_row(mark) for mark in marks]
    steps = [[b - a for a, b in zip(*pair, strict=True)] for pair in itertools.pairwise(rows)]
    calls = [[b - a for a, b in zip(one, two, strict=True)] for one, two in zip(steps[::2], steps[1::2], strict=True)]
    return sorted(calls, key=lambda row: sum(row[:CYCLES]))[len(calls) // 2]


def _row(slots: bytes) -> list[int]:
    """The sum of all virtual CPUs' rows."""
    values = array.array("Q", slots)
    return [sum(values[i::ROW]) for i in range(ROW)]
