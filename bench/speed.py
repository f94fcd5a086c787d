"""Speed at batch 1 beside ONNX Runtime and torch: milliseconds on this machine, instruction counts on emulated boards.

    python bench/speed.py            (figures in bench/results/speed.json)

Weights are random, which no runner's time depends on. Runners on this machine take turns in one process, so that they meet the
same machine; a turn starts with a rest and one run that is not counted. Times are from NumPy pixels or floats to NumPy logits.
Counts are one thread's instructions of one more inference (a run of three minus a run of two) on a board under emulation:
the same in every run, and no time. Every runner's logits are compared with torch's in float before it is timed.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Pieces, arguments, finish, machine
from speed_peers import board_program, export, ort_call, ort_on_board

from lampq_tvm.allocate.plan import uniform_plan
from lampq_tvm.api.compiling import compile_pipeline
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.api.running import load
from lampq_tvm.device.count import count_instructions
from lampq_tvm.device.emulate import EmulatedBoard
from lampq_tvm.frontend.execute import normalize
from lampq_tvm.frontend.timm_source import build_timm

Call = Callable[[], np.ndarray]
BITS = (8, 4)
REST_S = 0.02
LEAST = {8: 0.95, 4: 0.3}  # correlation with float below which a runner computes something else
COLUMNS = ("model", "where", "threads", "runner", "kind", "value", "unit", "x_fp32", "x_int8", "correlation")


def artifacts(model: str, target: str, calib_images: int, folder: Path) -> dict[str, Path]:
    """Our artifacts for a target, compiled on random images."""
    made = {}
    for bits in BITS:
        options = Options(model, target=target, calib_images=calib_images, seed=0)
        plan = folder / f"{model}-{bits}.json"
        uniform_plan(Pipeline(options).model, bits, bits).save(plan)
        output = folder / f"{model}-{target.replace(':', '-')}-{bits}.lampq"
        made[f"lampq {bits}/{bits}"] = compile_pipeline(Pipeline(options, plan), output)
    return made


class Inputs:
    """One random image, as pixels and normalized, and torch's logits for it."""

    def __init__(self, model: str) -> None:
        pipeline = Pipeline(Options(model, seed=0))
        spec = pipeline.model.input
        rng = np.random.default_rng(1)
        self.pixels = rng.integers(0, 256, (1, spec.channels, spec.height, spec.width), np.uint8)
        self.floats = normalize(self.pixels, spec).numpy()
        self.module = build_timm(model, None, False, None, 0)
        self.logits = self.torch()

    @torch.inference_mode()
    def torch(self) -> np.ndarray:
        """Logits [1, classes] of the float model."""
        logits: np.ndarray = self.module(torch.from_numpy(self.floats)).numpy()
        return logits

    def correlation(self, logits: np.ndarray, runner: str) -> float:
        """With torch's logits; ends the program where it is too small to be the same network."""
        found = float(np.corrcoef(logits.ravel(), self.logits.ravel())[0, 1])
        if not found >= LEAST[4 if "4/4" in runner else 8]:
            sys.exit(f"speed: {runner}: its logits correlate with torch's by {found:.3f} only, so its time means nothing")
        return found


def host_rows(model: str, threads: int, calib_images: int, rounds: int, runs: int, work: Path) -> list[dict[str, Any]]:
    """Median milliseconds of every runner on this machine."""
    torch.set_num_threads(threads)
    inputs = Inputs(model)
    calls: dict[str, Call] = {"torch fp32": inputs.torch}
    for name, path in export(model, inputs.module, inputs.floats, work).items():
        calls[f"onnxruntime {name}"] = ort_call(path, inputs.floats, threads)
    for name, path in artifacts(model, "host", calib_images, work).items():
        runner = load(path, threads=threads)
        calls[name] = lambda runner=runner: runner(inputs.pixels)
    found = {name: inputs.correlation(call(), name) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(REST_S)  # the other runners' threads stop spinning
            call()
            for _ in range(runs):
                start = time.perf_counter()
                call()
                times[name].append(1e3 * (time.perf_counter() - start))
    shared = {"model": model, "where": "host", "threads": threads, "kind": "measured", "unit": "ms", "n": rounds * runs}
    rows = [{**shared, "runner": n, "value": statistics.median(t), "correlation": found[n]} for n, t in times.items()]
    for row in rows:
        row["p95"] = float(np.percentile(times[row["runner"]], 95))
    return with_ratios(rows)


def board_rows(model: str, target: str, calib_images: int, peers: bool, work: Path, pieces: Pieces) -> list[dict[str, Any]]:
    """Instructions of one inference of every runner on an emulated board."""
    inputs, board = Inputs(model), EmulatedBoard(target)
    images = work / f"{model}.npz"
    np.savez(images, pixels=inputs.pixels, floats=inputs.floats)
    made = {name: ("lampq", path) for name, path in artifacts(model, target, calib_images, work).items()}
    site = ort_on_board(board) if peers else None
    if site is not None:
        made |= {f"onnxruntime {n}": ("ort", p) for n, p in export(model, inputs.module, inputs.floats, work).items()}
    rows = []
    for name, (kind, path) in made.items():
        out = work / "logits.npy"

        def measure(kind: str = kind, path: Path = path, out: Path = out) -> dict[str, Any]:
            program = board_program(kind, path, images, out, site)
            count = count_instructions(board, lambda n: [*program, str(n)], n=2)
            return {"value": count / 1e6, "logits": np.load(out).ravel().tolist()}

        found = pieces.get(f"{model}-{target}-{name.replace('/', '-').replace(' ', '-')}", measure)
        correlation = inputs.correlation(np.array(found.pop("logits")), name)
        shared = {"model": model, "where": f"emulated {target}", "threads": 1, "kind": "estimated", "unit": "M instructions"}
        rows.append({**shared, "runner": name, "correlation": correlation, **found})
        print(f"{model} on {target}, {name}: {found['value']:.1f} M instructions", file=sys.stderr, flush=True)
    return with_ratios(rows)


def with_ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row with how many times less it takes than ONNX Runtime's fp32 and its better int8."""
    values = {row["runner"]: row["value"] for row in rows}
    int8 = [v for name, v in values.items() if name.startswith("onnxruntime int8")]
    for row in rows:
        row["x_fp32"] = values["onnxruntime fp32"] / row["value"] if "onnxruntime fp32" in values else None
        row["x_int8"] = min(int8) / row["value"] if int8 else None
    return rows


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "speed")
    parser.add_argument("--models", nargs="+", default=["deit_tiny_patch16_224", "deit_small_patch16_224"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--targets", nargs="*", default=["raspberry-pi-5", "raspberry-pi-4"])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=5, help="timed runs of a turn")
    parser.add_argument("--calib-images", type=int, default=8)
    parser.add_argument("--no-board-peers", action="store_true", help="leave ONNX Runtime out on the boards")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    facts, pieces, rows = machine(), Pieces(args.work / "counts", args.calib_images), []
    for model in args.models:
        for threads in args.threads:
            rows += host_rows(model, threads, args.calib_images, args.rounds, args.runs, args.work)
        for target in args.targets:
            rows += board_rows(model, target, args.calib_images, not args.no_board_peers, args.work, pieces)
    finish(args.output, COLUMNS, rows, machine=facts, load_after=machine()["load_before"])


if __name__ == "__main__":
    main()
