"""Builds candidates in this process and has another one measure them: a crash there costs one candidate."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm.tirx import PrimFunc

from lampq_tvm.compiler.linking import link_library
from lampq_tvm.device.kind import Device
from lampq_tvm.errors import DeviceError
from lampq_tvm.kernels.tiles import Tiles
from lampq_tvm.kernels.tunable import Kernel
from lampq_tvm.records.cpu import Judged
from lampq_tvm.resources import PACKAGE
from lampq_tvm.runtime.machine import cache_class
from lampq_tvm.scratch import scratch
from lampq_tvm.targets import Target
from lampq_tvm.tune.case import Case

START_S = 120
JOB_S = 60
END_S = 30


class Measuring:
    """The measuring process; it starts with the first job, and again after each death.

    Args:
        target: what candidates are compiled for.
        device: where they run.
        threads: cores that they are timed on; all where None.
    """

    def __init__(self, target: Target, device: Device, threads: int | None = None) -> None:
        self.target, self.device, self.threads = target, device, threads
        self._built = 0
        self._process: subprocess.Popen[str] | None = None
        self._folder = scratch("tune")

    def write_case(self, case: Case) -> Path:
        """Store a kernel's case where the process finds it."""
        path = Path(self._folder.name) / "case.npz"
        arrays: dict[str, Any] = {f"a{i}": a for i, a in enumerate(case.arguments)}
        np.savez(path, **arrays, expected=case.expected)
        return path

    @property
    def judged(self) -> Judged:
        """How candidates are judged."""
        caches = cache_class() if self.device.here else None
        return Judged(device=self.device.name, target=self.target.name, caches=caches)

    def build(self, kernel: Kernel, tiles: Tiles) -> Path:
        """The library of a candidate.

        Raises:
            Exception: whatever TVM, LLVM or the linker raises where it does not build.
        """
        self._built += 1  # a name of its own: the loader takes a library of a known name for the one it has
        return self._link(kernel.build(tiles), Path(self._folder.name) / f"{tiles.key}_{self._built}.so")

    def _link(self, function: PrimFunc, path: Path) -> Path:
        target = tvm.target.Target(self.target.tvm)
        executable = tvm.compile(tvm.IRModule({"main": function.with_attr("global_symbol", "main")}), target=target)
        return link_library(executable, self.target, path)

    def judge(self, case: Path, libraries: Sequence[Path], rounds: int, limit_s: int = JOB_S) -> dict[str, Any]:
        """The process's answer about libraries, or `{"outcome": "crash" | "hang", "why"}` where it died.

        Raises:
            DeviceError: the process or its device cannot be started.
        """
        process = self._process or self._start()
        names = [str(path) for path in libraries]
        answer = _exchange(process, {"libraries": names, "case": str(case), "rounds": rounds, "limit_s": limit_s})
        if answer is not None:
            return answer
        code, why = self._end()
        return {"outcome": "hang" if code == -signal.SIGALRM else "crash", "why": why}

    def _start(self) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen(
            [sys.executable, "-m", "lampq_tvm.tune"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(Path(self._folder.name) / "stderr").open("wb"),
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the tuner, which then ends this process itself
        )
        self._process = process
        setup = {"device": self.device.name, "target": self.target.name, "threads": self.threads, "limit_s": START_S}
        answer = _exchange(process, setup)
        if answer is None or "error" in answer:
            raise DeviceError(answer["error"] if answer else f"measuring does not start ({self._end()[1]})", where="tuning")
        return process

    def _end(self) -> tuple[int, str]:
        """End the process: its exit code, and that with its last words."""
        process, self._process = self._process, None
        if process is None:
            return 0, ""
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was still to be written has no reader
                    pipe.close()
        try:
            code = process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        words = (Path(self._folder.name) / "stderr").read_text("utf-8", errors="replace").strip().splitlines()
        return code, " ".join([f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}", *words[-1:]])[:200]

    def __enter__(self) -> Measuring:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._folder.cleanup()


def _exchange(process: subprocess.Popen[str], message: dict[str, Any]) -> dict[str, Any] | None:
    """Send a line and read the answer; None where the process died."""
    if process.stdin is None or process.stdout is None:
        raise AssertionError("the process was started with pipes")
    try:
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
    except (BrokenPipeError, ValueError):
        return None
    return answer
