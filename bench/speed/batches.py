"""Milliseconds an image at batches of 1 to 16 on this machine, with one thread and with all cores.

    python -m bench.speed.batches               (figures in bench/results/batches.json; the machine should do nothing else)

Artifacts of one model at 8/8 and 4/8, one for each batch, take turns in one process; random weights, which no time depends on.
`of_one`: the time of an image over that at batch 1. Medians over the turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.common.networks import MODELS
from bench.common.peers.case import CALIBRATION
from bench.common.run import arguments, finish, machine
from lampq_tvm.api.compiling import compile_pipeline
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.runtime.runner import load
from lampq_tvm.sources import package_digest

COLUMNS = ("model", "widths", "threads", "batch", "ms_an_image", "of_one")
IMAGES = 16  # of each artifact in a turn


def artifact(model: str, widths: str, batch: int, folder: Path) -> Path:
    """Compiled for this machine, unless it is there from this package's code."""
    output = folder / f"{model}-{widths.replace('/', '-')}-b{batch}-{package_digest()[:12]}.lampq"
    if not output.exists():
        asked = Options(model, calib_images=CALIBRATION, batch=batch, seed=0)
        plan = output.with_suffix(".json")
        uniform_plan(Pipeline(asked).model, *map(int, widths.split("/"))).save(plan)
        compile_pipeline(Pipeline(asked, plan), output)
    return output


def caller(path: Path, threads: int, batch: int) -> Callable[[], float]:
    """Milliseconds of an image over `IMAGES` of them."""
    runner = load(path, threads=threads)
    pixels = np.random.default_rng(1).integers(0, 256, (batch, *runner.image_shape), np.uint8)

    def call() -> float:
        begin = time.perf_counter()
        for _ in range(IMAGES // batch):
            runner(pixels)
        return 1e3 * (time.perf_counter() - begin) / IMAGES

    return call


def rows(model: str, widths: str, threads: int, files: dict[int, Path], turns: int) -> list[dict[str, Any]]:
    """All batches of a model at a pair of widths."""
    calls = {batch: caller(path, threads, batch) for batch, path in files.items()}
    times: dict[int, list[float]] = {batch: [] for batch in calls}
    for turn in range(turns + 1):  # the first is not counted
        for batch in list(calls)[:: 1 if turn % 2 else -1]:
            times[batch].append(calls[batch]())
    medians = {batch: statistics.median(found[1:]) for batch, found in times.items()}
    facts = {"model": model, "widths": widths, "threads": threads}
    return [facts | {"batch": b, "ms_an_image": round(m, 3), "of_one": round(m / medians[1], 3)} for b, m in medians.items()]


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "batches")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=["deit_tiny", "deit_small"])
    parser.add_argument("--widths", nargs="+", default=["8/8", "4/8"], help="bits of weights / activations")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args()
    if options.batches[0] != 1:
        parser.error("the first batch is what the others are compared with: 1")
    found = []
    for model in options.models:
        for widths in options.widths:
            files = {b: artifact(MODELS[model][0], widths, b, options.work) for b in options.batches}
            for threads in options.threads:
                found += rows(model, widths, threads, files, options.turns)
    finish(options.output, COLUMNS, found, machine=machine())


if __name__ == "__main__":
    main()
