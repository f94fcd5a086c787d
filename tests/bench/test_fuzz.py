"""A short form of the fuzz bench, and that it finds what it looks for."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.common.run import Pieces
from bench.trust import fuzz
from bench.trust.fuzzing import child, mutate
from lampq_tvm.errors import UsageError
from lampq_tvm.resources import PACKAGE

READERS, COMMANDS = 100, 6
SLOW = {"onnx": 12, "onnx, raw": 12, "pt2": 12}  # each of these is a whole model, read and recognized


def short_form(folder: Path) -> None:
    """Every kind in short; AssertionError where something is found."""
    found = []
    pieces = Pieces(folder / "pieces")
    for kind in fuzz.prepare(folder / "fuzz"):
        slow = kind.name in SLOW
        made, findings = fuzz.row(kind, 0, SLOW.get(kind.name, READERS), 3 if slow else COMMANDS, pieces)
        assert made["accepted"] + made["refused"] + made["findings"] == made["readers"]
        found += findings
    assert not found, found


def test_every_kind_through_its_reader_and_its_command(tmp_path):
    """In a process of its own: torch takes no gradients in the children of one that has taken some."""
    code = "import pathlib, sys; from tests.bench.test_fuzz import short_form; short_form(pathlib.Path(sys.argv[1]))"
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "LAMPQ_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


def _made(rng, folder):
    return folder


FAULTS = {
    "ZeroDivisionError": lambda path: 1 // 0,
    "the process ended": lambda path: os.kill(os.getpid(), 11),
    "MemoryError": lambda path: bytearray(3 << 30),
    "a line of": lambda path: (_ for _ in ()).throw(UsageError("x", where="y" * 2000)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_with_its_seed_and_the_next_is_read(fault):
    def use(path):
        if len(seeds) == 1:
            return "accepted"
        return child.read_once(FAULTS[fault], path)

    seeds: list[int] = []
    found = list(child.outcomes([7, 8], _made, use, lambda: None))
    assert [seed for seed, _ in found] == [7, 8]
    assert all(fault in outcome for _, outcome in found)


def test_a_hang_is_found(monkeypatch):
    monkeypatch.setattr(child, "LIMIT_S", 1)
    start = time.monotonic()
    found = dict(child.outcomes([1], _made, lambda path: child.read_once(lambda _: time.sleep(60), path), lambda: None))
    assert "longer than the limit" in found[1] and time.monotonic() - start < 20


def test_a_seed_makes_the_same_file_whatever_was_made_before():
    valid = {"a": [1, 2, {"b": "c"}], "d": 0.5, "e": {}}
    first = [mutate.json_text(random.Random(seed), valid) for seed in range(300)]
    assert first == [mutate.json_text(random.Random(seed), valid) for seed in range(300)]
    assert len(set(first)) > 200
