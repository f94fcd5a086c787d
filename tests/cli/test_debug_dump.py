"""`--debug-dump` shows the network after each stage and pass."""

from __future__ import annotations

import json

import pytest

from lampq_tvm.lower.cuda.passes import PASSES
from tests.cli.conftest import FEW, MODEL

STAGES = ["import", "layers", "calibrate", "plan", "quantize"]


@pytest.fixture
def dumped(lampq, data, tmp_path):
    """Compiles and returns the dump's files by their names without the number, in order, and what inspect says."""

    def compiled(target, *more):
        folder = tmp_path / target
        argv = ("compile", *MODEL, *FEW, "--data", data, "--target", target, "--budget", "8bit", "-o", tmp_path / "a.lampq")
        found = lampq(*argv, "--debug-dump", folder, "--json", *more)
        assert found.code == 0, found.err
        files = sorted(folder.iterdir())
        assert [int(f.name[:2]) for f in files] == list(range(len(files)))
        read = {f.stem[3:]: json.loads(f.read_text()) if f.suffix == ".json" else f.read_text() for f in files}
        return read, json.loads(found.out.splitlines()[-1])

    return compiled


def test_a_cpu_shows_stages_calls_and_the_compilers_passes(dumped):
    found, seen = dumped("raspberry-pi-5")
    names = list(found)
    assert names[: len(STAGES)] == STAGES and names[len(STAGES) : len(STAGES) + 2] == ["lower", "relax"]
    assert "relax-KillAfterLastUse" in names and len(names) >= len(STAGES) + 5
    assert [row["name"] for row in found["layers"]["rows"]] == [r["name"] for r in seen["layers"] if r["params"]]
    ops = found["quantize"]["rows"]
    assert {row["op"] for row in ops} >= {"QPatchEmbed", "QProduct", "QAttention"}
    assert ops[0]["constants"]["w"].startswith("int8 [32, ") and ops[-1]["shape"] == [4]
    assert {row["value"] for row in found["lower"]["rows"]} >= {row["name"] for row in ops}
    assert "call" in found["relax"] or "R.call" in found["relax"]


def test_a_gpu_shows_every_pass_for_every_batch_size(dumped):
    found, _ = dumped("jetson-agx-orin-64gb", "--batch", "2")
    passes = [each.__name__ for each in PASSES]
    assert list(found) == [*STAGES, *(f"batch{b}-{name}" for b in (1, 2) for name in (*passes, "lower"))]
    roots = [len(found[f"batch1-{name}"]["rows"]) for name in passes]
    assert roots == sorted(roots, reverse=True) and roots[-1] < len(found["quantize"]["rows"])
    last = found["batch1-gate_codes"]["rows"]
    names = {name for row in last for name in (row["name"], *(x.split()[1] for x in (*row["before"], *row["after"])))}
    assert names == {row["name"] for row in found["quantize"]["rows"]}
    assert all(write["offset"] >= 0 for row in found["batch1-lower"]["rows"] for write in row["writes"].values())


def test_a_folder_that_holds_something_is_refused_before_long_work(lampq, data, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    argv = ("compile", *MODEL, *FEW, "--data", data, "--budget", "8bit", "-o", tmp_path / "a.lampq")
    found = lampq(*argv, "--debug-dump", tmp_path)
    assert found.code == 8 and "not empty" in found.line and (tmp_path / "mine.txt").read_text() == "mine"
    (tmp_path / "file").write_text("")
    assert lampq(*argv, "--debug-dump", tmp_path / "file").code == 8
