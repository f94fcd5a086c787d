"""The board's script on a kit of one small artifact, with the stub driver and a trtexec that prints fixed times."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.common.peers.trtexec import read_times
from bench.jetson.kit import PARTS
from lampq_tvm.artifact.container import write_artifact
from lampq_tvm.resources import PACKAGE
from tests.runtime.cuda.artifact import expected, small_artifact
from tests.runtime.cuda.conftest import built_stub as built_stub

PRINTED = """[11/21/2026-10:00:00] [I] === Performance summary ===
[11/21/2026-10:00:00] [I] Throughput: 812.4 qps
[11/21/2026-10:00:00] [I] Latency: min = 1.2 ms, max = 1.4 ms, mean = 1.26 ms, median = 1.25 ms, percentile(90%) = 1.3 ms
[11/21/2026-10:00:00] [I] H2D Latency: min = 0.02 ms, max = 0.03 ms, mean = 0.025 ms, median = 0.025 ms
[11/21/2026-10:00:00] [I] GPU Compute Time: min = 0.7 ms, max = 0.8 ms, mean = 0.76 ms, median = 0.75 ms
"""


def test_times_of_trtexec():
    assert read_times(PRINTED) == {"compute_ms": 0.75, "end_to_end_ms": 1.25}
    assert read_times("&&&& FAILED") == {"reason": "trtexec printed no times"}


@pytest.fixture
def kit(tmp_path):
    artifact, images = small_artifact(), np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), np.uint8)
    write_artifact(tmp_path / "small.lampq", artifact.sections, artifact.manifest)
    np.savez(tmp_path / "small.npz", images=images, logits=expected(images)["head"])
    row = {"plan": "8/8", "artifact": "small.lampq", "check": "small.npz"}
    missing = {"plan": "4/4", "artifact": "missing.lampq", "check": "small.npz"}
    cases = [{"model": "small", "batch": 1, "onnx": "small.onnx", "ours": [row, missing]}]
    (tmp_path / "kit.json").write_text(json.dumps({"target": "jetson-agx-orin-64gb@jp6", "cases": cases}))
    tool = tmp_path / "bin" / "trtexec"
    tool.parent.mkdir()
    # Engines of fp16 are built and timed; int8 cannot be built.
    script = f'#!/bin/sh\ncase "$*" in *--int8*) echo "[E] no int8"; exit 1;; *--load*) cat <<END\n{PRINTED}END\n;; esac\n'
    tool.write_text(script)
    tool.chmod(0o755)
    return tmp_path


def test_what_a_kit_holds_is_all_that_the_board_imports(tmp_path):
    for name in PARTS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE.parent / name, tmp_path / name)
    command = [sys.executable, "-m", "bench.jetson.board", "--help"]
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0 and "KIT" in done.stdout, done.stderr


def test_a_kit_on_a_board(kit, built_stub):
    there = {
        **os.environ,
        "LD_LIBRARY_PATH": str(Path(built_stub).parent),
        "PATH": f"{kit / 'bin'}:/usr/bin:/bin",
        "PYTHONPATH": str(PACKAGE.parent),
    }
    command = [sys.executable, "-m", "bench.jetson.board", str(kit), "--rounds", "2"]
    done = subprocess.run(command, capture_output=True, text=True, env=there)
    assert done.returncode == 0, done.stderr
    found = json.loads((kit / "results.json").read_text())
    assert (found["kind"], found["target"]) == ("measured", "jetson-agx-orin-64gb@jp6")
    assert found["board"]["power_mode"].startswith("failed")
    rows = {row["runner"]: row for row in found["rows"]}
    assert (rows["TensorRT fp16"]["compute_ms"], rows["TensorRT fp16"]["end_to_end_ms"]) == (0.75, 1.25)
    assert rows["TensorRT int8"]["reason"] == "[E] no int8"
    ours = rows["ours 8/8"]
    assert (ours["compute_ms"], ours["vs_fp16"], len(ours["rounds"])) == (1.5, 2.0, 2)
    assert ours["same_bits"] is False  # the stub computes nothing, and that is seen
    assert "cannot read" in rows["ours 4/4"]["reason"] or "does not exist" in rows["ours 4/4"]["reason"]
