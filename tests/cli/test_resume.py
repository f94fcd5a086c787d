"""A run that is cut off at any unit of work, then given again, ends with the same bytes."""

import json
import os
import signal
import subprocess
import sys

import pytest

from lampq_tvm import store
from tests.cli.conftest import FEW, MODEL

KILLED = """
import os, sys
from lampq_tvm import store
from lampq_tvm.__main__ import run_command
write, left = store.write_atomic, [int(sys.argv[1])]
def count(path, data):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), 9)
    write(path, data)
store.write_atomic = count
sys.exit(run_command(sys.argv[2:]))
"""

WITHOUT_TORCH = """
import sys
from lampq_tvm.__main__ import run_command
sys.exit(run_command(sys.argv[1:]) or "torch" in sys.modules)
"""


def command(data, out):
    return ["plan", *MODEL, *FEW, "--data", str(data), "--budget", "4bit", "--no-update", "-o", str(out)]


def files(cache):
    """Digests of every finished stage."""
    found = {}
    for path in sorted((cache / "stages").rglob("*.st")):
        raw = path.read_bytes()
        head = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        found.setdefault(f"{path.parent.parent.name}/{path.name}", set()).add(head["__metadata__"]["lampq"])
    return found


@pytest.fixture
def whole(lampq, data, tmp_path, monkeypatch):
    """The plan and the stages of a run that nobody disturbed."""
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "whole"))
    assert lampq(*command(data, tmp_path / "whole.json")).code == 0
    return (tmp_path / "whole.json").read_bytes(), files(tmp_path / "whole")


def test_interrupted_at_every_few_units(lampq, data, tmp_path, monkeypatch, whole):
    write = store.write_atomic
    left = [0]

    def cut(path, content):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(store, "write_atomic", cut)
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "cut"))
    out, runs = tmp_path / "plan.json", 0
    while not out.exists():
        left[0], runs = 4, runs + 1
        found = lampq(*command(data, out))
        assert found.code == 0 or (found.code == 130 and "go on with: lampq plan" in found.line and not out.exists())
    assert runs > 4
    assert (out.read_bytes(), files(tmp_path / "cut")) == whole


def test_killed(lampq, data, tmp_path, monkeypatch, whole):
    out = tmp_path / "plan.json"
    env = {**os.environ, "LAMPQ_CACHE": str(tmp_path / "killed"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", KILLED, "12", *command(data, out)], env=env, capture_output=True)
    assert done.returncode == -signal.SIGKILL and not out.exists(), done.stderr
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "killed"))
    assert lampq(*command(data, out)).code == 0
    assert (out.read_bytes(), files(tmp_path / "killed")) == whole


def test_a_damaged_stage_is_made_again(lampq, data, tmp_path, monkeypatch, whole):
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "whole"))
    for stage in (tmp_path / "whole" / "stages").rglob("*.st"):
        content = bytearray(stage.read_bytes())
        content[len(content) // 2] ^= 1
        stage.write_bytes(content)
    assert lampq(*command(data, tmp_path / "again.json")).code == 0
    assert ((tmp_path / "again.json").read_bytes(), files(tmp_path / "whole")) == whole


def test_what_is_finished_needs_no_torch(lampq, data, tmp_path):
    """Importing it takes longer than everything else that a command does whose stages are all kept."""
    compiled = ["compile", *MODEL, *FEW, "--data", str(data), "-o", str(tmp_path / "a.lampq")]
    assert lampq(*compiled).code == 0
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *compiled], check=True, capture_output=True)
