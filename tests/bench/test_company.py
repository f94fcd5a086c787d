"""The bench of commands in each other's company, in a short form: every command ends well, every request has one result."""

import json
import os
import subprocess
import sys

from lampq_tvm.resources import PACKAGE


def test_commands_at_once_and_a_command_that_is_killed(tmp_path):
    short = ["--rounds", "1", "--commands", "3", "--kills", "2"]
    places = ["--output", str(tmp_path / "found.json"), "--work", str(tmp_path / "work")]
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bench.trust.company", *short, *places]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["machine"]["kills"] == 2 and sum(row["runs"] for row in found["rows"]) >= 3 + 2
    assert all(row["failed"] == 0 and row["hashes"] == 1 for row in found["rows"])
