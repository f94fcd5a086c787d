"""The verbs on a CUDA artifact, in a process of their own whose libcuda is the stub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lampq_tvm.artifact.container import write_artifact
from lampq_tvm.compiler.cuda.disassembly import tool
from tests.runtime.cuda.artifact import small_artifact


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    artifact = small_artifact()
    layers = [{"name": "head", "type": "head", "w_bits": 4, "a_bits": 8, "params": 960}]
    path = tmp_path_factory.mktemp("cuda") / "small.lampq"
    write_artifact(path, artifact.sections, {**artifact.manifest, "layers": layers})
    return path


def lampq(stub: str, *arguments: object, version: str = "12060") -> subprocess.CompletedProcess[str]:
    there = {**os.environ, "LD_LIBRARY_PATH": str(Path(stub).parent), "STUB_VERSION": version}
    command = [sys.executable, "-m", "lampq_tvm", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=there)


def test_run(built_stub, path, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 3, 8, 8), np.float32))
    found = lampq(built_stub, "run", path, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
    assert found.returncode == 0, found.stderr
    assert np.load(tmp_path / "y.npy").shape == (3, 5)


def test_bench(built_stub, path):
    found = lampq(built_stub, "bench", path, "--json", "--repeat", "5")
    row = json.loads(found.stdout.splitlines()[-1])
    assert (row["median_ms"], row["n"], row["kind"], row["device"]) == (1.5, 5, "measured", "Stub")
    assert row["end_to_end_median_ms"] > 0 and "clocks" in row and row["peak_rss_bytes"] > 0


def test_inspect(built_stub, path):
    row = json.loads(lampq(built_stub, "inspect", path, "--json").stdout.splitlines()[-1])
    assert row["code_bytes"] == len(small_artifact().sections["cubins"]) and row["target"].startswith("jetson")
    assert 0 < row["largest_activation_bytes"] <= row["arena_bytes"]
    if tool("nvdisasm"):
        assert lampq(built_stub, "inspect", path, "--asm").stdout.count("EXIT ;") >= 3


def test_doctor(built_stub):
    checks = {c["name"]: c for c in json.loads(lampq(built_stub, "doctor", "--json").stdout.splitlines()[-1])["checks"]}
    assert checks["CUDA driver and device"] == {
        "name": "CUDA driver and device",
        "ok": True,
        "text": "Stub, sm_87, 1.0 GiB, driver for CUDA 12.6",
    }
    assert checks["CUDA compilers"]["text"] == "CUDA 11, 12, 13"
    local = json.loads(lampq(built_stub, "device", "doctor", "--json").stdout.splitlines()[-1])
    assert local["gpu"].startswith("Stub, sm_87")


def test_an_older_driver_is_one_line(built_stub, path):
    found = lampq(built_stub, "bench", path, version="11040")
    assert found.returncode == 3 and "Traceback" not in found.stderr
    last = found.stderr.strip().splitlines()[-1]
    assert str(path) in last and "compiled by CUDA 12, this driver serves CUDA 11.4" in last


def test_no_driver_is_one_line(path, tmp_path):
    found = lampq(str(tmp_path / "libcuda.so.1"), "bench", path)
    if "no CUDA driver" not in found.stderr:
        pytest.skip("this machine has a driver of its own")
    assert found.returncode == 5 and "Traceback" not in found.stderr
