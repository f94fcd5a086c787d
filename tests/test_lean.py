"""Processes that only run kernels import no torch, which TVM would take along."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from lampq_tvm.artifact.container import write_artifact
from tests.boards import runs_here, target_of
from tests.cli.conftest import FEW, MODEL
from tests.compiler.networks import artifact, images, quantized

HOST = next((isa for isa in ("vbmi", "vnni", "avx2") if runs_here(isa)), None)
pytestmark = pytest.mark.skipif(HOST is None, reason="no x86 level to run here")


def imported(*argv: str, given: str = "") -> set[str]:
    """Modules that a program imports to its end, or tries to."""
    command = [sys.executable, "-X", "importtime", *argv]
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, check=True, env={**os.environ, "TVM_NUM_THREADS": "1"}
    )
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


def test_running_and_timing_an_artifact(tmp_path):
    made = artifact(quantized("one block", "4/4"), target_of(HOST), 3)
    path = tmp_path / "model.lampq"
    write_artifact(path, made.sections, {k: v for k, v in made.manifest.items() if k not in ("schema", "sections")})
    np.save(tmp_path / "x.npy", images("one block", 3).astype(np.float32))
    found = imported(
        "-m", "lampq_tvm", "run", str(path), "--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npy")
    )
    assert "tvm" in found and "torch._C" not in found
    assert "torch._C" not in imported("-m", "lampq_tvm", "bench", str(path))


def test_evaluating_runs_the_float_model_beside(tmp_path):
    """In a process of its own, which has torch: only verbs that never need it go without."""
    data, out = tmp_path / "data.npz", tmp_path / "model.lampq"
    np.savez(data, images=np.random.default_rng(0).integers(0, 256, (16, 16, 16), np.uint8), labels=np.arange(16) % 4)
    env = {**os.environ, "LAMPQ_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    for argv in (
        ["compile", *MODEL, *FEW, "--budget", "8bit", "--data", data, "-o", out],
        ["eval", out, "--data", data, "--json"],
    ):
        command = [sys.executable, "-m", "lampq_tvm", *map(str, argv)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert json.loads(done.stdout)["fp32_top1"] is not None


def test_measuring_candidates():
    setup = {"device": "local", "target": "host", "threads": 1, "limit_s": 60}
    found = imported("-m", "lampq_tvm.tune", given=json.dumps(setup) + "\n")
    assert "tvm" in found and "torch._C" not in found


def test_serving():
    found = imported("-m", "lampq_tvm.device.serve", "--with-stdin")
    assert "tvm" in found and "torch._C" not in found
