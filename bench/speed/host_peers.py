"""Milliseconds of one inference on this machine: this project beside ONNX Runtime, torch and OpenVINO.

    python -m bench.speed.host_peers            (figures in bench/results/host_peers.json; the machine should do nothing else)

Every runner is a process of its own and all of them take turns, so that they meet the same machine: a turn is a rest, in which
the others' threads stop spinning, one run that is not counted, and the timed ones. Times are from NumPy pixels or floats to
NumPy logits, medians over all turns. Weights are random, which no runner's time depends on. Every runner's logits are compared
with torch's in float; one that computes something else, or cannot be had, is a row with the reason.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np

from bench.common.peers import before, lampq, onnxruntime, openvino, torch
from bench.common.peers.case import MODELS, Case
from bench.common.peers.peer import WORKER, Peer, Runner
from bench.common.peers.rows import COLUMNS, Row, judged, with_ratios
from bench.common.run import arguments, finish, machine
from lampq_tvm.errors import DeviceError, LampqError
from lampq_tvm.resources import PACKAGE

PEERS = {module.PEER.name: module.PEER for module in (onnxruntime, torch, openvino, lampq)}
REST_S = 0.02


class Turns:
    """One runner in its process; use as a context manager.

    Raises:
        DeviceError: it does not start, or ends by itself.
    """

    def __init__(self, peer: Peer, runner: Runner, file: Path, case: Case, threads: int) -> None:
        self._stack = ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="lampq-peers-")))
        self._log: IO[bytes] = self._stack.enter_context((folder / "log").open("w+b"))
        out = folder / "logits.npy"
        words = [str(WORKER), "turns", "-", runner.kind, str(file), str(case.images), str(out), str(threads)]
        path = {"PYTHONPATH": str(peer.tree or PACKAGE.parent)} if peer.environment is None else {"PYTHONPATH": ""}
        env = {**os.environ, **path, "OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            [str(peer.python()), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=env, text=True
        )
        try:
            self._line()
            self.logits: np.ndarray = np.load(out)
        except BaseException:
            self.close()
            raise

    def take(self, runs: int) -> list[float]:
        """Milliseconds of each run of a turn."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{runs}\n")
        self._process.stdin.flush()
        times: list[float] = json.loads(self._line())
        return times

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._stack.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith(("ready", "[")):  # libraries print too
                return line
        self._log.seek(0)
        reason = (self._log.read().decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        raise DeviceError(f"the runner ended ({reason[:200]})")


def host_rows(case: Case, threads: int, peers: list[Peer], rounds: int, runs: int) -> list[Row]:
    """A row for every runner of a model, all taking turns."""
    rows: list[Row] = []
    turning: list[tuple[Row, Runner, Turns]] = []
    with ExitStack() as stack:
        for peer in peers:
            files = peer.files(case, "host")
            for label, runner in peer.runners.items():
                row: Row = {"model": case.model, "where": "host", "threads": threads, "runner": f"{peer.name} {label}"}
                row |= {"kind": "measured", "unit": "ms"}
                rows.append(row)
                file = files[label]
                if isinstance(file, str):
                    row["missing"] = file
                    continue
                try:
                    turns = Turns(peer, runner, file, case, threads)
                except LampqError as e:
                    row["missing"] = str(e)
                    continue
                stack.callback(turns.close)
                turning.append((row, runner, turns))
        times: dict[str, list[float]] = {row["runner"]: [] for row, _, _ in turning}
        for _ in range(rounds):
            for row, _, turns in turning:
                time.sleep(REST_S)
                times[row["runner"]] += turns.take(runs)
        for row, runner, turns in turning:
            found = times[row["runner"]]
            figures = {"value": statistics.median(found), "p95": float(np.percentile(found, 95)), "n": len(found)}
            row |= judged({**figures, "logits": turns.logits}, case, runner)
    return with_ratios(rows)


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "host_peers")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--before", type=Path, metavar="TREE", help="another checkout, whose artifacts take turns too")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=5, help="timed runs of a turn")
    args = parser.parse_args()
    facts, rows, peers = machine(), [], [PEERS[name] for name in args.peers]
    if args.before:
        peers.append(before.peer(args.before))
    for model in args.models:
        case = Case(model, args.work / model)
        for threads in args.threads:
            rows += host_rows(case, threads, peers, args.rounds, args.runs)
            print(f"{model}, {threads} threads: done", file=sys.stderr, flush=True)
    facts |= {"load_after": machine()["load_before"]}
    finish(args.output, COLUMNS, rows, machine=facts, peers={peer.name: peer.versions() for peer in peers})


if __name__ == "__main__":
    main()
