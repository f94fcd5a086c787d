"""The measuring process: loads candidates, compares them with the oracle, times them, and may crash.

`python -m lampq_tvm.tune` reads jobs from its standard input and answers on its standard output, one JSON line each:

    {"libraries": [path, ...], "case": path, "limit_s": seconds, "rounds": n}
    {"outcome": "exact", "samples": [[...], ...], "unit": "us", "clocks_mhz": n}    samples of each library, round by round
    {"outcome": "wrong", "differ": [values that differ, ...]}

A job that runs longer than its limit ends the process: SIGALRM's default action needs no help from a hanging kernel.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tvm

from lampq_tvm.device.clocks import clock_mhz
from lampq_tvm.device.kinds import find_device
from lampq_tvm.errors import LampqError
from lampq_tvm.runtime.machine import BIG_CORES, SET_THREADS
from lampq_tvm.spread import set_up_kernel_threads
from lampq_tvm.targets import resolve_target

SAMPLE_MS = 1.0


class Bench:
    """Runs libraries on a device: this process's cores, or an RPC session's.

    Args:
        device: its name.
        target: name of the target that the device is checked against.
        threads: cores to use; all where None.

    Raises:
        DeviceError: it cannot be reached, or it is an emulated board, whose times mean nothing.
    """

    def __init__(self, device: str, target: str, threads: int | None) -> None:
        self._open, self.device = contextlib.ExitStack(), find_device(device)
        self.session: Any = self._open.enter_context(self.device.timed(resolve_target(target)))
        set_up_kernel_threads()
        self.cores = tvm.cpu() if self.session is None else self.session.cpu()
        if threads is not None:
            find = tvm.get_global_func if self.session is None else self.session.get_function
            find(SET_THREADS)(BIG_CORES, threads)

    def function(self, library: str) -> Any:
        """The kernel in a library."""
        module = tvm.runtime.load_module(library) if self.session is None else self.session.load(Path(library))
        return module["main"], module

    def tensor(self, array: np.ndarray) -> Any:
        """An array on the device."""
        return tvm.runtime.tensor(np.ascontiguousarray(array), self.cores)

    def sampler(self, module: Any, arguments: list[Any]) -> Callable[[], float]:
        """What gives one sample in microseconds."""
        seconds = max(module.time_evaluator("main", self.cores, number=1, repeat=2)(*arguments).min, 1e-7)
        number = max(1, int(SAMPLE_MS / 1e3 / seconds))
        timer = module.time_evaluator("main", self.cores, number=number, repeat=1)
        return lambda: 1e6 * float(timer(*arguments).mean)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


def judge(bench: Bench, job: dict[str, Any]) -> dict[str, Any]:
    """Compare every library of a job with the expected output, then time them in turns."""
    with np.load(job["case"]) as case:
        arrays = [case[f"a{i}"] for i in range(len(case.files) - 1)]
        expected = case["expected"]
    loaded = [bench.function(library) for library in job["libraries"]]
    arguments = [bench.tensor(array) for array in arrays]
    differ = []
    for function, _ in loaded:
        out = bench.tensor(np.full_like(expected, 77))
        function(*arguments, out)
        differ.append(int((out.numpy().view(np.uint8) != expected.view(np.uint8)).sum()))
    if any(differ):
        return {"outcome": "wrong", "differ": differ}
    out = bench.tensor(np.zeros_like(expected))
    samplers = [bench.sampler(module, [*arguments, out]) for _, module in loaded]
    samples = [[sample() for sample in samplers] for _ in range(job["rounds"])]
    clocks = clock_mhz(bench.device.clocks(bench.session))
    columns = [list(column) for column in zip(*samples, strict=True)]
    return {"outcome": "exact", "samples": columns, "unit": "us", "clocks_mhz": clocks}


def main() -> None:
    """Answer jobs until standard input ends, with which the tuner's own end ends this process."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print must not come between the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    setup = json.loads(sys.stdin.readline())
    signal.alarm(setup["limit_s"])
    try:
        bench = Bench(setup["device"], setup["target"], setup["threads"])
    except LampqError as e:
        print(json.dumps({"error": str(e)}), file=answers, flush=True)
        return
    signal.alarm(0)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    with bench:
        for line in sys.stdin:
            job = json.loads(line)
            signal.alarm(job["limit_s"])
            answer = judge(bench, job)
            signal.alarm(0)
            print(json.dumps(answer), file=answers, flush=True)
