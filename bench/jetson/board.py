"""A Jetson's table: this project's artifacts beside TensorRT fp16 and int8, taking turns, on the board itself.

    python -m bench.jetson.board KIT            (figures in KIT/results.json; docs/jetson.md says how the kit is made)

Needs the runtime, trtexec and nothing else. Every runner takes its turn in every round, so that all meet the same board.
`compute_ms` is the kernels alone by the device's clock, `end_to_end_ms` a whole call with its copies; medians over rounds.
`same_bits` says whether an artifact's logits are those that the workstation's CPU computed, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import lampq_tvm
from bench.common.peers import trtexec
from lampq_tvm.cli.output import print_table
from lampq_tvm.device.cuda.clocks import read_clocks
from lampq_tvm.errors import LampqError
from lampq_tvm.store import write_atomic

COLUMNS = ("model", "batch", "runner", "compute_ms", "end_to_end_ms", "vs_fp16", "same_bits", "reason")
REPEAT = 50
Turn = Callable[[], dict[str, Any]]


def ours(artifact: Path, check: Path) -> tuple[dict[str, Any], Turn | None]:
    """What is known of an artifact before its turns, and its turn; no turn where it cannot run."""
    try:
        runner = lampq_tvm.load(artifact)
        with np.load(check) as kept:
            same = bool(np.array_equal(runner(kept["images"]), kept["logits"]))
    except LampqError as e:
        return {"reason": str(e)}, None

    def turn() -> dict[str, Any]:
        compute, whole = statistics.median(runner.bench(REPEAT)), statistics.median(runner.bench_end_to_end(REPEAT))
        return {"compute_ms": compute, "end_to_end_ms": whole}

    return {"same_bits": same}, turn


def tensorrt(onnx: Path, kind: str) -> tuple[dict[str, Any], Turn | None]:
    """The same for an engine of TensorRT, which is built first and kept beside the model."""
    tool = trtexec.find()
    if tool is None:
        return {"reason": "trtexec is not installed (apt install tensorrt)"}, None
    engine = onnx.with_suffix(f".{kind}.engine")
    print(f"building {engine.name}: minutes, once", flush=True)
    reason = trtexec.build(tool, onnx, kind, engine)
    return ({"reason": reason}, None) if reason else ({}, lambda: trtexec.measure(tool, engine))


def measure(kit: Path, case: dict[str, Any], rounds: int) -> Iterator[dict[str, Any]]:
    """The rows of one model at one batch."""
    runners = {f"TensorRT {kind}": tensorrt(kit / case["onnx"], kind) for kind in trtexec.BUILD}
    for row in case["ours"]:
        runners[f"ours {row['plan']}"] = ours(kit / row["artifact"], kit / row["check"])
    samples: dict[str, list[dict[str, Any]]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, (_, turn) in runners.items():
            if turn is not None:
                samples[name].append(turn())
    found = {name: {**known, **medians(samples[name])} for name, (known, _) in runners.items()}
    fp16 = found["TensorRT fp16"].get("compute_ms")
    for name, row in found.items():
        ratio = row["compute_ms"] / fp16 if fp16 and "compute_ms" in row else None
        yield {"model": case["model"], "batch": case["batch"], "runner": name, **row, "vs_fp16": ratio, "rounds": samples[name]}


def medians(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over rounds; the reason of the first round that failed."""
    failed = next((row for row in samples if "reason" in row), None)
    if failed or not samples:
        return dict(failed or {})
    return {key: statistics.median(row[key] for row in samples) for key in ("compute_ms", "end_to_end_ms")}


def locked() -> dict[str, str]:
    """Lock the clocks where sudo allows it, and say at which power mode the board runs."""
    clocks, mode = said("sudo", "-n", "jetson_clocks"), said("nvpmodel", "-q")
    if clocks.startswith("failed"):
        print("the clocks are not locked; for figures that others can repeat: sudo jetson_clocks", flush=True)
    return {"jetson_clocks": clocks or "locked", "power_mode": mode}


def said(*command: str) -> str:
    """What a program prints, on one line; after `failed: ` why it does not run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as e:
        return f"failed: {e}"
    return " ".join(done.stdout.split()) if done.returncode == 0 else f"failed: {' '.join(done.stderr.split())}"


def main() -> None:
    """Measure a kit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    said = json.loads((options.kit / "kit.json").read_text())
    board = locked()
    rows = [row for case in said["cases"] for row in measure(options.kit, case, options.rounds)]
    facts = {"kind": "measured", "target": said["target"], "board": board, "clocks": read_clocks()}
    print_table(COLUMNS, [[row.get(c) for c in COLUMNS] for row in rows])
    write_atomic(options.kit / "results.json", (json.dumps({**facts, "rows": rows}, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
