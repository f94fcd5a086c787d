"""Whole commands compute with one thread for each job and no other, and end with the same bytes whatever the number of jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from lampq_tvm import spread
from lampq_tvm.api import evaluating
from tests.cli.conftest import FEW, MODEL

COUNTED = """
import sys
from pathlib import Path

import torch

from lampq_tvm.__main__ import run_command

def threads():
    names = {path.name: (path / "comm").read_text() for path in Path("/proc/self/task").iterdir()}
    return {number for number, name in names.items() if not name.startswith("pt_autograd")}  # these sleep: they are for GPUs

torch.set_num_threads(9)
before = threads()
code = run_command(sys.argv[1:])
print(code, torch.get_num_threads(), len(threads() - before))
"""


def test_no_operation_shares_its_work_among_threads(data, tmp_path):
    """Such threads stay until the process ends: beside other busy processes each operation would wait for all of them."""
    command = ["plan", *MODEL, *FEW, "--data", str(data), "--budget", "4bit", "--jobs", "2", "-o", str(tmp_path / "plan.json")]
    env = {**os.environ, "LAMPQ_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", COUNTED, *command], env=env, capture_output=True, text=True, check=True)
    code, shared, started = map(int, done.stdout.splitlines()[-1].split())
    assert (code, shared) == (0, 9) and started < 8, done.stdout + done.stderr


def test_the_same_artifact_whatever_the_number_of_jobs(lampq, data, tmp_path, monkeypatch):
    for jobs in (1, 2, 5):
        monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / f"cache{jobs}"))
        command = ["compile", *MODEL, *FEW, "--data", data, "--budget", "4bit", "--jobs", str(jobs)]
        assert lampq(*command, "-o", tmp_path / f"{jobs}.lampq").code == 0
    stages = {jobs: files(tmp_path / f"cache{jobs}") for jobs in (1, 2, 5)}
    assert stages[1] == stages[2] == stages[5] and len(stages[1]) >= 4
    assert len({(tmp_path / f"{jobs}.lampq").read_bytes() for jobs in (1, 2, 5)}) == 1


def test_eval_says_the_same_whatever_the_number_of_jobs(lampq, data, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluating, "EVAL_BATCH", 3)
    assert lampq("compile", *MODEL, *FEW, "--data", data, "-o", tmp_path / "a.lampq").code == 0
    at_once, loaded = Counter(), []
    real = evaluating.load
    monkeypatch.setattr(evaluating, "load", lambda *given: loaded.append(given[2]) or real(*given))
    for jobs in (1, 2, 5):
        found = lampq("eval", tmp_path / "a.lampq", "--data", data, "--jobs", str(jobs), "--json")
        assert found.code == 0
        at_once[found.out.splitlines()[-1]] += 1
        assert 1 <= len(loaded) <= jobs and set(loaded) == {1}  # runners, each of one thread
        loaded.clear()
    ((line, times),) = at_once.items()
    assert times == 3 and json.loads(line)["n"] == 16 and json.loads(line)["agreement_fp32"] is not None


def test_eval_loads_fewer_runners_where_memory_is_short(lampq, data, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluating, "EVAL_BATCH", 1)
    assert lampq("compile", *MODEL, *FEW, "--data", data, "-o", tmp_path / "a.lampq").code == 0
    loaded, real = [], evaluating.load
    monkeypatch.setattr(evaluating, "load", lambda *given: loaded.append(given[2]) or real(*given))
    monkeypatch.setattr(spread.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1 << 30}))
    assert lampq("eval", tmp_path / "a.lampq", "--data", data, "--jobs", "8").code == 0
    assert len(loaded) == 1


def files(cache):
    """Every finished stage's bytes."""
    return {str(path.relative_to(cache)): path.read_bytes() for path in (cache / "stages").rglob("*.st")}


@pytest.mark.parametrize("jobs", ["0", "-1", "2000", "two"])
def test_a_number_of_jobs_that_cannot_be(lampq, data, tmp_path, jobs):
    found = lampq("plan", *MODEL, "--data", data, "--jobs", jobs, "-o", tmp_path / "plan.json")
    assert found.code == 2 and "--jobs" in found.line
