"""A key covers the code that ran for a result: whole requests are traced, and run again by changed copies of the package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from lampq_tvm.resources import PACKAGE
from lampq_tvm.sources import source_files
from lampq_tvm.stage_cache import STAGES
from tests.cli.conftest import MODEL
from tests.copies import Copy
from tests.copies import copy as copy

pytestmark = pytest.mark.xdist_group("traced")  # which takes long
SIZES = {k: int(v) for k, v in (arg.split("=") for arg in MODEL if "=" in arg)}
FEW = ["--calib-images", "16", "--sens-images", "16"]
# Stages whose keys are part of a stage's key.
HELD = {"sensitivity": ("calibrate",), "latency": ("calibrate",), "refit": ("calibrate",)}
HELD |= {"plan": ("refit", "calibrate"), "quantize": ("refit", "calibrate"), "build": ("quantize", "refit", "calibrate")}
TELLS = {PACKAGE / "calibrate/doubts.py"}  # a warning after calibration, whoever asked for that
DESK = (
    "api",
    "stage_cache.py",
    "sources.py",
)  # knows every stage and hands each its inputs, which are in the key; so is what hands them

# Runs command lines and prints, by stage, the files whose functions ran while its result was worked out, and the stages
# that were worked out meanwhile.
TRACED = """
import functools, json, sys, threading
from lampq_tvm import store
from lampq_tvm.__main__ import run_command
from lampq_tvm.stage_cache import Cache

at_work, ran, within, gpu = [], {}, set(), ""

def see(frame, event, arg):
    for stage in at_work:
        ran.setdefault(stage, set()).add(frame.f_code.co_filename)

def working(folder, function):
    stage = folder.parent.name + (gpu if folder.parent.name in ("build", "latency") else "")

    @functools.wraps(function)
    def work(*args):
        within.update((outer, stage) for outer in at_work)
        held, at_work[:] = at_work[:], [stage]  # what runs inside of an inner stage is that one's
        sys.settrace(see)
        threading.settrace(see)
        try:
            return function(*args)
        finally:
            at_work[:] = held
    return work

def get(self, folder, file, load, compute, save, units_in=None):
    return whole(self, folder, file, load, working(folder, compute), working(folder, save), units_in)

def unit(self, name, compute):
    place = self.folder if self.folder.parents[1].name == "stages" else self.folder.parent
    inside = place.parents[1].name == "stages" and not at_work
    return whole_unit(self, name, working(place, compute) if inside else compute)

whole, Cache.get = Cache.get, get
whole_unit, store.Units.get = store.Units.get, unit
for argv in json.loads(sys.argv[1]):
    gpu = " gpu" if any("@cuda" in arg for arg in argv) else ""
    code = run_command(argv)
    assert code == 0, (argv, code)
print(json.dumps([{stage: sorted(files) for stage, files in ran.items()}, sorted(within)]))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, and images labelled by that very model, `data` and `fresh`."""
    folder = tmp_path_factory.mktemp("known")
    torch.manual_seed(0)
    model = timm.create_model(MODEL[0], **SIZES).eval()
    save_file(model.state_dict(), folder / "w.safetensors")
    for seed, name in enumerate(("data", "fresh")):
        pixels = np.kron(np.random.default_rng(seed).integers(0, 256, (160, 4, 4), np.uint8), np.ones((1, 4, 4), np.uint8))
        with torch.no_grad():
            labels = model((torch.from_numpy(pixels)[:, None].float() / 255 - 0.5) / 0.5).argmax(1).numpy()
        np.savez(folder / f"{name}.npz", images=pixels, labels=labels)
    return folder


def command(files: Path, verb: str, out: Path, *more: str) -> list[str]:
    return [verb, *MODEL, *FEW, "--checkpoint", f"{files / 'w.safetensors'}", "--data", f"{files / 'data.npz'}",
            "-o", str(out), *more]  # fmt: skip


@pytest.fixture(scope="module")
def traced(files: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, set[Path]], set[tuple[str, str]]]:
    """By stage, this package's files that worked; and which stage was worked out within which."""
    folder = tmp_path_factory.mktemp("traced")
    judged = ["--max-drop", "60", "--val-data", f"{files / 'fresh.npz'}", "--val-images", "100"]
    timed = ["--budget", "5bit", "--budget", "1000ms"]
    requests = [
        command(files, "compile", folder / "a.lampq", *timed, "--device", "local"),
        command(files, "compile", folder / "b.lampq", *timed, "--allow-estimates", "--target", "h200@cuda12"),
        command(files, "plan", folder / "p.json", *judged),
    ]
    env = {**os.environ, "LAMPQ_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-c", TRACED, json.dumps(requests)]
    done = subprocess.run(line, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    ran, within = json.loads(done.stdout.splitlines()[-1])
    inside = {stage: {Path(file) for file in names if file.startswith(f"{PACKAGE}/")} for stage, names in ran.items()}
    return inside, {(outer, inner) for outer, inner in within}


def covered(stage: str) -> set[Path]:
    """The files that a stage's key covers, those of the keys within it included."""
    name, _, gpu = stage.partition(" ")
    work = STAGES[name]
    own = {PACKAGE / f"{module.replace('.', '/')}.py" for module in work.hands}
    return own.union(source_files(*(work.gpu if gpu else work.runs)), *(covered(inner) for inner in HELD.get(name, ())))


def test_what_worked_for_a_stage_is_in_its_key(traced):
    ran, _ = traced
    assert set(ran) == {*STAGES, "build gpu", "latency gpu"}
    for stage, names in ran.items():
        desk = {path for path in names if path.relative_to(PACKAGE).parts[0] in DESK}
        loose = names - desk - TELLS - covered(stage)
        assert len(names) > 4 and not loose, (stage, sorted(loose))


def test_a_stage_within_another_is_part_of_its_key(traced):
    """Else a change of the inner one would leave the outer one's old result."""
    _, within = traced
    assert ("build", "quantize") in within
    assert all(inner in HELD.get(outer.partition(" ")[0], ()) for outer, inner in within), within


def test_who_hands_a_stage_its_inputs_is_in_its_key(traced):
    """The functions that a stage's result is asked from stand in the modules that its key names."""
    ran, _ = traced
    for name, work in STAGES.items():
        hands = {PACKAGE / f"{module.replace('.', '/')}.py" for module in work.hands}
        assert hands <= ran[name], name


RUN = """
from pathlib import Path
import os
from lampq_tvm.__main__ import run_command
def made():
    root = Path(os.environ["LAMPQ_CACHE"]) / "stages"
    return {f"{path.parent.name}/{path.name}" for path in root.glob("*/*")}
before = made()
assert run_command(sys.argv[1:]) == 0
print(json.dumps(sorted({name.partition("/")[0] for name in made() - before})))
"""


def test_changed_code_makes_new_results_and_unrelated_comments_do_not(copy: Copy, files, tmp_path, monkeypatch):
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "cache"))
    argv = command(files, "compile", tmp_path / "a.lampq", "--no-update", "--budget", "5bit")
    assert copy.run(RUN, *argv) == ["build", "calibrate", "import", "quantize", "refit", "sensitivity"]
    whole = (tmp_path / "a.lampq").read_bytes()
    with copy.edited("quantize/build.py", "\n# a comment\n"):
        assert copy.run(RUN, *argv) == ["build", "quantize"]
    for name in ("cli/compile.py", "allocate/ilp.py", "ptx/machine.py", "kernels/cuda/emit.py", "frontend/doctor.py"):
        path = copy.package / name
        path.write_text(path.read_text() + "\n# a comment\n")
    assert copy.run(RUN, *argv) == []
    assert (tmp_path / "a.lampq").read_bytes() == whole
