"""Whole jobs on the idle machine and beside busy loops, of one or more checkouts, which take turns.

    python -m bench.workstation.busy                                (figures in bench/results/busy.json)
    python -m bench.workstation.busy --tree OTHER --tree .          before and after in one run

Each job is a fresh process with a cache of its own: `make demo`'s, a compile of DeiT-T from nothing (32 + 64 random images),
and the calibration of ViT-B on 32 images, whose own seconds are shown, without imports. `times_idle` is the ratio to the same
checkout's median on the idle machine. CPU seconds show what work there was, `waits` how often a thread gave up its core. A job
that is not finished after `--limit` seconds is killed: its row says `over`, and its seconds are those until then.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.common.run import ROOT, arguments, finish, machine

COLUMNS = ("job", "tree", "busy", "seconds", "times_idle", "cpu_seconds", "waits", "peak_rss_mib", "over", "n")
BUSY = "while True: pass"
CALIBRATION = """
import sys, time
from lampq_tvm.api.options import Options
from lampq_tvm.api.stages import Stages

stages = Stages(Options(model=sys.argv[1], calib_images=int(sys.argv[2])))
stages.model
start = time.perf_counter()
stages.calibration
print("SECONDS", time.perf_counter() - start)
"""


def commands(args: Any, tree: Path, folder: Path) -> dict[str, list[str]]:
    """The command of every job that is asked for."""
    counts = ["--calib-images", str(args.images), "--sens-images", str(2 * args.images)]
    compile = ["-m", "lampq_tvm", "compile", args.deit, "--target", "host", "--budget", "4bit", *counts]
    found = {
        "demo": ["-m", "bench.demo", "--output", str(folder)],
        f"compile {args.deit}": [*compile, "-o", str(folder / "out.lampq")],
        f"calibrate {args.vit}": ["-c", CALIBRATION, args.vit, str(args.images)],
    }
    return {job: command for job, command in found.items() if job.split()[0] in args.jobs.split(",")}


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """So many processes that do nothing but compute."""
    loops = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        time.sleep(1 if loops else 0)
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def timed(job: str, tree: Path, args: Any) -> dict[str, Any]:
    """One run of a job; ends the program where it fails."""
    with tempfile.TemporaryDirectory(prefix="lampq-busy-") as name:
        folder = Path(name)
        env = {**os.environ, "PYTHONPATH": str(tree), "LAMPQ_CACHE": str(folder / "cache")}
        command = [sys.executable, *commands(args, tree, folder)[job]]
        start = time.perf_counter()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, env=env, cwd=tree, stdout=log, stderr=log, start_new_session=True)
            timer = threading.Timer(args.limit, os.killpg, (process.pid, signal.SIGKILL))
            timer.start()
            _, status, usage = os.wait4(process.pid, 0)
            timer.cancel()
        seconds, text = time.perf_counter() - start, (folder / "log").read_text()
    code = os.waitstatus_to_exitcode(status)
    over = code == -signal.SIGKILL and seconds >= args.limit
    if code != 0 and not over:
        sys.exit(f"busy: {job} of {tree} failed:\n{text[-2000:]}")
    own = [float(line.split()[1]) for line in text.splitlines() if line.startswith("SECONDS ")]
    return {
        "seconds": own[0] if own else seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "waits": usage.ru_nvcsw,
        "peak_rss_mib": usage.ru_maxrss / 1024,
        "over": int(over),
    }


def median_row(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of every figure."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]} | {"n": len(runs)}


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "busy")
    parser.add_argument("--tree", type=Path, action="append", help="checkout to time; repeatable [default: this one]")
    parser.add_argument("--busy", type=int, default=4, help="busy loops beside")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--jobs", default="demo,compile,calibrate", help="which, by commas")
    parser.add_argument("--deit", default="deit_tiny_patch16_224", help="model that is compiled")
    parser.add_argument("--vit", default="vit_base_patch16_224", help="model that is calibrated")
    parser.add_argument("--images", type=int, default=32, help="of calibration")
    parser.add_argument("--limit", type=float, default=3600, help="seconds after which a job is killed")
    args = parser.parse_args()
    trees = [tree.resolve() for tree in args.tree or [ROOT]]
    facts = {"machine": machine(), "arguments": {"rounds": args.rounds, "images": args.images, "limit_s": args.limit}}
    runs: dict[tuple[str, Path, int], list[dict[str, Any]]] = {}
    for count in (0, args.busy):
        for job in commands(args, trees[0], Path()):
            for tree in trees * args.rounds:
                with busy_loops(count):
                    found = timed(job, tree, args)
                runs.setdefault((job, tree, count), []).append(found)
                print(
                    f"{job}, {tree.name}, beside {count}: {found['seconds']:.1f} s{' (killed)' * found['over']}",
                    file=sys.stderr,
                    flush=True,
                )
    rows = []
    for (job, tree, count), found in runs.items():
        row = median_row(found)
        idle = median_row(runs[job, tree, 0])["seconds"]
        rows.append({"job": job, "tree": tree.name, "busy": count, "times_idle": row["seconds"] / idle, **row})
    finish(args.output, COLUMNS, rows, **facts)


if __name__ == "__main__":
    main()
