"""A tiny model on tiny images, and the command line run in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lampq_tvm.__main__ import run_command

SHAPE = ("img_size=16", "patch_size=8", "in_chans=1", "num_classes=4", "embed_dim=32", "depth=2", "num_heads=2")
MODEL = ["vit_tiny_patch16_224", *(x for arg in SHAPE for x in ("--model-arg", arg)), "--mean", "0.5", "--std", "0.5"]
FEW = ["--calib-images", "8", "--sens-images", "8"]


@dataclass
class Result:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line of an error."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and self.err.splitlines()[-1] == lines[0], self.err
        assert "Traceback" not in self.err + self.out
        return lines[0]


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("lampq-cache")


@pytest.fixture(autouse=True)
def cache(session_cache, monkeypatch):
    """Stages are shared by the tests of a session, and never the user's."""
    monkeypatch.setenv("LAMPQ_CACHE", str(session_cache))
    return session_cache


@pytest.fixture
def lampq(capsys):
    """Run a command line in this process."""

    def call(*argv: str | Path) -> Result:
        capsys.readouterr()
        code = run_command([str(a) for a in argv])
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return call


@pytest.fixture
def data(tmp_path):
    """16 labelled grey images of 16x16."""
    rng = np.random.default_rng(0)
    path = tmp_path / "data.npz"
    np.savez(path, images=rng.integers(0, 256, (16, 16, 16), np.uint8), labels=np.arange(16) % 4)
    return path


def start(*argv: str | Path, **env: str) -> subprocess.Popen[str]:
    """The program in a process of its own."""
    command = [sys.executable, "-m", "lampq_tvm", *map(str, argv)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", **env})
