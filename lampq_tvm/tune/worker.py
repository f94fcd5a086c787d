"""The measuring process: loads candidates, compares them with the oracle, times them, and may crash.

`python -m lampq_tvm.tune.worker` reads jobs from its standard input and answers on its standard output, one JSON line each:

    {"libraries": [path, ...], "case": path, "limit_s": seconds, "rounds": n}
    {"outcome": "exact", "samples": [[...], ...], "unit": "us"}    samples of each library, round by round
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

from lampq_tvm.errors import LampqError
from lampq_tvm.runtime.machine import count_cores
from lampq_tvm.targets import resolve_target

SAMPLE_MS = 1.0


class Bench:
    """Runs libraries on a device: this process's cores, or an RPC session's.

    Args:
        device: as in `--device`; an emulated board is started anew, with a counter.
        target: name of the target that the device is checked against.
    """

    def __init__(self, device: str, target: str) -> None:
        self.session: Any = None
        self._open = contextlib.ExitStack()
        if device != "local":
            from lampq_tvm.device.count import counting_session
            from lampq_tvm.device.rpc import connect

            code = resolve_target(target)
            self.session = self._open.enter_context(counting_session(code) if device == "emulated" else connect(device, code))
        count_cores()
        self.cores = tvm.cpu() if self.session is None else self.session.cpu()

    def function(self, library: str) -> Any:
        """The kernel in a library."""
        module = tvm.runtime.load_module(library) if self.session is None else self.session.load(Path(library))
        return module["main"], module

    def tensor(self, array: np.ndarray) -> Any:
        """An array on the device."""
        return tvm.runtime.tensor(np.ascontiguousarray(array), self.cores)

    def sampler(self, function: Any, module: Any, arguments: list[Any]) -> Callable[[], float]:
        """What gives one sample: microseconds, or instructions where the device is emulated."""
        if self.session is not None and self.session.emulated:
            return lambda: float(self.session.count(module, "main", *arguments))
        seconds = max(module.time_evaluator("main", self.cores, number=1, repeat=2)(*arguments).min, 1e-7)
        number = max(1, int(SAMPLE_MS / 1e3 / seconds))
        timer = module.time_evaluator("main", self.cores, number=number, repeat=1)
        return lambda: 1e6 * float(timer(*arguments).mean)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def unit(self) -> str:
        """Of the samples."""
        return "instructions" if self.session is not None and self.session.emulated else "us"


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
    samplers = [bench.sampler(f, module, [*arguments, out]) for f, module in loaded]
    rounds = 1 if bench.unit == "instructions" else job["rounds"]  # a count is the same every time
    samples = [[sample() for sample in samplers] for _ in range(rounds)]
    return {"outcome": "exact", "samples": [list(column) for column in zip(*samples, strict=True)], "unit": bench.unit}


def main() -> None:
    """Answer jobs until standard input ends, with which the tuner's own end ends this process."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print must not come between the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    setup = json.loads(sys.stdin.readline())
    signal.alarm(setup["limit_s"])
    try:
        bench = Bench(setup["device"], setup["target"])
    except LampqError as e:
        print(json.dumps({"error": str(e)}), file=answers, flush=True)
        return
    signal.alarm(0)
    print(json.dumps({"unit": bench.unit}), file=answers, flush=True)
    with bench:
        for line in sys.stdin:
            job = json.loads(line)
            signal.alarm(job["limit_s"])
            answer = judge(bench, job)
            signal.alarm(0)
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
