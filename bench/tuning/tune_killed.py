"""Tunes a model from nothing, killing the command at random moments and giving it again until it ends by itself.

    python -m bench.tuning.tune_killed                                (this machine; figures in bench/results/tune_killed.json)
    python -m bench.tuning.tune_killed --target raspberry-pi-5 --trials 64      (estimated cycles on an emulated core)

`seconds` adds up all runs, import and calibration included; the emulated board itself is taken from the user's cache. `lost`
counts kernels whose log before a kill is no beginning of the one after it, `repeated` trials that were measured twice. Rows of
other targets in the results file are kept.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.common.run import ROOT, arguments, finish, machine
from lampq_tvm.records.cpu import read_record
from lampq_tvm.store import cache_dir
from lampq_tvm.tune.log import decode

COLUMNS = ("model", "target", "seconds", "tasks", "unbuilt", "candidates", "failed", "kills", "lost", "repeated", "median_gain")


def trials(database: Path) -> dict[str, list[str]]:
    """Trials on the disk, by kernel: phase and tiles of each."""
    found: dict[str, list[str]] = {}
    for path in sorted((database / "log").glob("*/*.jsonl")):
        lines = [trial for line in path.read_bytes().split(b"\n") if line and (trial := decode(line))]
        found[path.stem] = [f"{trial['phase']} {trial.get('tiles')}" for trial in lines]
    return found


def killed(command: list[str], cache: Path, after_s: float | None) -> tuple[bool, float]:
    """Run the command, killed with all it started after some seconds: whether it ended by itself, and its seconds."""
    start, env = time.monotonic(), {**os.environ, "LAMPQ_CACHE": str(cache)}
    process = subprocess.Popen(command, env=env, cwd=ROOT, start_new_session=True)
    try:
        code = process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)  # it alone: its measuring process must end with it
        process.wait()
        return False, time.monotonic() - start
    if code != 0:
        raise SystemExit(f"the command ended with exit code {code}")
    return True, time.monotonic() - start


def row_of(model: str, target: str, database: Path) -> dict[str, Any]:
    """What the database says after the last run."""
    logs = trials(database)
    isa = next((database / "log").iterdir()).name
    records = [read_record(database, isa, kernel) for kernel in logs]
    made = [record for record in records if record is not None]
    speedups = sorted(record.default_cost / record.cost for record in made)
    searched = [one for log in logs.values() for one in log if one.startswith("search")]
    return {
        "model": model,
        "target": target,
        "tasks": len(logs),
        "unbuilt": len(logs) - len(made),
        "candidates": len(searched),
        "failed": sum(record.failed for record in made),
        "repeated": sum(len(log) - len(set(log)) for log in logs.values()),
        "median_gain": round(speedups[len(speedups) // 2], 3) if speedups else None,
    }


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "tune_killed")
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument("--target", default="host")
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--mean-s", type=float, default=120, help="seconds until a kill, on average")
    parser.add_argument("--seed", type=int, default=0)
    o = parser.parse_args()
    facts, chance = machine(), random.Random(o.seed)
    cache, device = o.work / o.target.replace(":", "_"), "local" if o.target == "host" else "emulated"
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(parents=True)
    for board in cache_dir().absolute().glob("board-*"):
        (cache / board.name).symlink_to(board)
    verb = ["tune", o.model, "--target", o.target, "--device", device, "--trials", str(o.trials), "--budget", "8bit"]
    command = [sys.executable, "-m", "lampq_tvm", *verb]
    kills, lost, seconds, ended = 0, 0, 0.0, False
    while not ended:
        before = trials(cache / "tuning")
        ended, took = killed(command, cache, chance.expovariate(1 / o.mean_s) if kills < o.kills else None)
        after = trials(cache / "tuning")
        seconds, kills = seconds + took, kills + (not ended)
        lost += sum(log != after.get(kernel, [])[: len(log)] for kernel, log in before.items())
    counts = {"kills": kills, "lost": lost, "seconds": round(seconds), "trials_each": o.trials, "threads": facts["cores"]}
    new = {**row_of(o.model, o.target, cache / "tuning"), **counts, "machine": facts}
    rows = json.loads(o.output.read_text())["rows"] if o.output.is_file() else []
    finish(o.output, COLUMNS, [*(row for row in rows if row["target"] != o.target), new])


if __name__ == "__main__":
    main()
