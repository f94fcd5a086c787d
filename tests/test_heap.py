"""Memory that is given back leaves the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lampq_tvm.heap import large_arrays_apart

# Arrays of many sizes come and go in several threads; the process then says what it holds more, in MiB.
PROGRAM = """
import random, sys
import numpy as np
import psutil
from lampq_tvm.spread import spread

def work(seed):
    rng, kept = random.Random(seed), []
    for _ in range(400):
        kept.append(np.ones(rng.randrange(1 << 12, 24 << 20), np.uint8))
        if len(kept) > 6:
            kept.pop(rng.randrange(len(kept)))

if sys.argv[1] == "plain":
    import lampq_tvm.spread as module
    module.give_back = module.large_arrays_apart = lambda: None
held = []
for work in (abs, work):
    for _ in spread(work, range(12), jobs=4):
        pass
    held.append(psutil.Process().memory_info().rss >> 20)
print(held[1] - held[0])
"""


def left(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_what_threads_freed_is_gone():
    if not large_arrays_apart():
        pytest.skip("this C library has no mallopt")
    assert left("ours") < 50 < left("plain")  # at once were in use some 70 MiB a thread
