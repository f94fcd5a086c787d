"""The main job on the shipped sample, offline: float, uniform 8 and 4 bits and LampQ's 4 bits, from compiled artifacts.

    python -m bench.demo            (or: make demo)

Leaves build/demo/*.lampq, prints a table and writes build/demo/summary.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.common.sample import CHECKPOINT, MODEL, ROOT, SAMPLE, Call, float_model

TIMING_SECONDS, FEWEST_TURNS = 20, 25
COLUMNS = ("name", "top1", "payload_bytes", "size_bytes", "median_ms", "avg_w_bits", "avg_a_bits")


def compile_rows(out: Path, threads: int) -> dict[str, Path]:
    """The three artifacts, by the name of their row."""
    from lampq_tvm import compile
    from lampq_tvm.api.options import Options
    from lampq_tvm.api.pipeline import Pipeline
    from lampq_tvm.bitplan import uniform_plan

    common: dict[str, Any] = {
        "checkpoint": CHECKPOINT,
        "data": SAMPLE / "calib512.npz", "calib_images": 512, "sens_images": 512, "threads": threads,
    }  # fmt: skip
    model = Pipeline(Options(MODEL, **common)).model
    plans: dict[str, Path | None] = {"lampq4": None}
    for bits in (4, 8):
        plans[f"uniform{bits}"] = out / f"uniform{bits}.json"
        uniform_plan(model, bits, bits).save(out / f"uniform{bits}.json")
    made = {}
    for name, plan in sorted(plans.items(), reverse=True):
        start = time.perf_counter()
        made[name] = compile(MODEL, output=out / f"{name}.lampq", plan=plan, budgets=("4bit",), **common)
        print(f"{name}: compiled in {time.perf_counter() - start:.0f} s", flush=True)
    return made


def top1(call: Call, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose largest logit is the label."""
    from lampq_tvm.spread import spread

    def right(start: int) -> int:
        part = slice(start, start + 50)
        return int((call(images[part]).argmax(1) == labels[part]).sum())

    return sum(spread(right, range(0, len(images), 50))) / len(images)


def median_times(calls: dict[str, Call], image: np.ndarray, rounds: int) -> dict[str, float]:
    """Median milliseconds for one image; the calls take turns, so that they meet the same machine.

    Beside busy processes, where threads wait for each other, there are fewer turns than `rounds`.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.monotonic() + TIMING_SECONDS
    for turn in range(rounds + 5):
        if turn >= FEWEST_TURNS and time.monotonic() > end:
            break
        for name, call in calls.items():
            time.sleep(0.005)  # the threads of the call before stop spinning
            call(image)
            start = time.perf_counter()
            call(image)
            if turn >= 5:  # the first turns warm up
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(t) for name, t in times.items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "demo")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, default=200, help="timed turns, fewer beside busy processes")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("LAMPQ_CACHE", str(args.output / "cache"))
    from lampq_tvm import eval as evaluate
    from lampq_tvm import inspect, load
    from lampq_tvm.cli.output import print_table

    artifacts = compile_rows(args.output, args.threads)
    call, parameters = float_model(args.threads)
    calls = {"float": call, **{name: load(path, threads=args.threads) for name, path in artifacts.items()}}
    sizes = {"payload_bytes": 4 * parameters, "size_bytes": 4 * parameters, "avg_w_bits": 32, "avg_a_bits": 32}
    facts = {"float": sizes, **{name: inspect(path) for name, path in artifacts.items()}}
    with np.load(SAMPLE / "test2000.npz") as sample:
        images, labels = sample["images"][:, None], sample["labels"]
    times = median_times(calls, images[:1], args.rounds)
    shares = {name: evaluate(path, data=SAMPLE / "test2000.npz", fp32=False)["top1"] for name, path in artifacts.items()}
    shares["float"] = top1(call, images, labels)
    rows = [
        {"name": name, "top1": shares[name], "median_ms": times[name]}
        | {key: facts[name][key] for key in COLUMNS if key in facts[name]}
        for name in ("float", "uniform8", "uniform4", "lampq4")
    ]
    (args.output / "summary.json").write_text(json.dumps({"rows": [{k: r[k] for k in COLUMNS} for r in rows]}, indent=1) + "\n")
    print_table(COLUMNS, [[row[k] for k in COLUMNS] for row in rows])


if __name__ == "__main__":
    main()
