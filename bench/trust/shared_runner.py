"""One loaded model shared by threads: their outputs against one thread's, and calls a second beside a runner for each.

    python -m bench.trust.shared_runner            (figures in bench/results/shared_runner.json)

The shipped Fashion-MNIST model at 8 bits on this machine, one image a call, each thread its own images in an order of its own.
Every output is compared bit for bit with that of one thread; ends with exit code 6 where one differs. `growth_kb` is what this
process holds more after 200 loads and closes than after the first 20 of them.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.common.run import arguments, finish, machine
from bench.common.sample import MODEL, model_options, test_sample
from lampq_tvm.api.compiling import compile_pipeline
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.api.running import load
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.runtime.runner import Runner

COLUMNS = ("what", "threads", "cores", "calls", "differ", "calls_per_s")
LOADS, WARM_LOADS = 200, 20


def artifact(work: Path) -> Path:
    """The shipped model at 8 bits, compiled once."""
    path = work / "uniform8.lampq"
    if not path.is_file():
        options = Options(MODEL, budgets=("8bit",), **model_options())
        pipeline = Pipeline(options)
        uniform_plan(pipeline.model, 8).save(work / "uniform8.json")
        compile_pipeline(Pipeline(options, work / "uniform8.json"), path)
    return path


def run(runners: Sequence[Runner], images: np.ndarray, expected: np.ndarray, calls: int) -> tuple[int, float]:
    """(outputs that differ, calls a second) of a thread for each runner of the list, which may be one and the same."""
    differ, start = [0] * len(runners), threading.Barrier(len(runners) + 1)

    def work(thread: int) -> None:
        order = np.random.default_rng(thread).integers(0, len(images), calls)
        start.wait()
        for i in order:
            differ[thread] += int((runners[thread](images[i : i + 1])[0] != expected[i]).any())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(runners))]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return sum(differ), len(runners) * calls / (time.perf_counter() - began)


def growth_kb(path: Path, image: np.ndarray) -> int:
    """What loading and closing leaves in this process's resident memory."""
    held = 0
    for i in range(WARM_LOADS + LOADS):
        if i == WARM_LOADS:
            held = _resident_kb()
        with load(path) as runner:
            runner(image)
    return _resident_kb() - held


def _resident_kb() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 10


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "shared_runner")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--calls", type=int, default=1000, help="of each thread")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--artifact", type=Path, help="another artifact for images of 28x28")
    args = parser.parse_args()
    facts = machine()
    path = args.artifact or artifact(args.work)
    images, _ = test_sample(args.images)
    rows: list[dict[str, Any]] = []
    for cores in (1, facts["cores"]):
        with load(path, threads=cores) as alone:
            expected = np.concatenate([alone(images[i : i + 1]) for i in range(len(images))])
            shared = [alone] * args.threads
            for what, runners in (("one thread", shared[:1]), ("one runner, shared", shared)):
                rows.append(row(what, cores, runners, images, expected, args.calls))
        each = [load(path, threads=cores) for _ in range(args.threads)]
        rows.append(row("a runner for each", cores, each, images, expected, args.calls))
        for runner in each:
            runner.close()
    grown = growth_kb(path, images[:1])
    finish(args.output, COLUMNS, rows, growth_kb=grown, loads=LOADS, **facts)
    print(f"{LOADS} loads and closes: {grown} kB")
    sys.exit(6 if any(found["differ"] for found in rows) else 0)


def row(
    what: str, cores: int, runners: Sequence[Runner], images: np.ndarray, expected: np.ndarray, calls: int
) -> dict[str, Any]:
    """One row of the table."""
    differ, rate = run(runners, images, expected, calls)
    counts = {"threads": len(runners), "cores": cores, "calls": len(runners) * calls}
    return {"what": what, **counts, "differ": differ, "calls_per_s": round(rate)}


if __name__ == "__main__":
    main()
