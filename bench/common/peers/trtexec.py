"""TensorRT by its own timing program, which comes with JetPack: build an engine once, then time it as often as asked."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

PLACES = ("/usr/src/tensorrt/bin/trtexec",)
BUILD = {"fp16": ("--fp16",), "int8": ("--int8", "--fp16")}  # int8 with random scales: times do not depend on them
RUN = ("--useCudaGraph", "--useSpinWait", "--warmUp=300", "--duration=2", "--iterations=50")
LINE = re.compile(r"\] (Latency|GPU Compute Time): (.*)")
BUILD_S, RUN_S = 1800, 120


def find() -> str | None:
    """Where trtexec is; None where TensorRT is not installed."""
    return shutil.which("trtexec") or next((path for path in PLACES if Path(path).is_file()), None)


def build(tool: str, onnx: Path, kind: str, engine: Path) -> str | None:
    """Build an engine of `fp16` or `int8`; the reason where it cannot be built."""
    if engine.is_file():
        return None
    return _say(_run([tool, f"--onnx={onnx}", *BUILD[kind], f"--saveEngine={engine}", "--skipInference"], BUILD_S))


def measure(tool: str, engine: Path) -> dict[str, Any]:
    """`compute_ms` (the engine alone) and `end_to_end_ms` (copies included), medians; or `reason`."""
    done = _run([tool, f"--loadEngine={engine}", *RUN], RUN_S)
    reason = _say(done)
    return {"reason": reason} if reason is not None else read_times(done.stdout if done else "")


def read_times(text: str) -> dict[str, Any]:
    """The medians in what trtexec prints."""
    medians = {}
    for name, figures in LINE.findall(text):
        found = re.search(r"median = ([\d.]+) ms", figures)
        if found:
            medians[name] = float(found[1])
    if len(medians) < 2:
        return {"reason": "trtexec printed no times"}
    return {"compute_ms": medians["GPU Compute Time"], "end_to_end_ms": medians["Latency"]}


def _run(command: list[str], limit_s: float) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
    except (OSError, subprocess.TimeoutExpired):
        return None


def _say(done: subprocess.CompletedProcess[str] | None) -> str | None:
    """None where it worked, else why not."""
    if done is None:
        return "trtexec did not end in time, or cannot be started"
    if done.returncode == 0:
        return None
    errors = [line for line in (done.stdout + done.stderr).splitlines() if "[E]" in line]
    return (errors or [f"trtexec ended with {done.returncode}"])[0].strip()[:200]
