"""The running instruction count of an emulated board, as the code that runs on it sees it."""

from __future__ import annotations

import array
import gc
import itertools
import os
import statistics
from collections.abc import Callable
from pathlib import Path

from lampq_tvm.device.classes import CPUS, ROW

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
    return sum(array.array("Q", Path(file).read_bytes()))


def count_call(call: Callable[[], object]) -> int:
    """Instructions of one `call` on the board that this runs on: two calls minus one, so that reading the count cancels out.

    The median of a few such differences: the interpreter's own bookkeeping now and then takes a hundred more.

    Returns:
        -1 where nothing counts.
    """
    if read_counter() < 0:
        return -1
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
    totals = [sum(array.array("Q", mark)) for mark in marks]
    steps = [after - before for before, after in itertools.pairwise(totals)]
    return statistics.median_low(two - one for one, two in zip(steps[::2], steps[1::2], strict=True))
