"""The real search: TVM proposes and builds, another process measures."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lampq_tvm.device.kinds import find_device
from lampq_tvm.errors import GateError
from lampq_tvm.kernels.tunable import ProductKernel
from lampq_tvm.records.cpu import Record, record_path
from lampq_tvm.tune.bench import Measuring
from lampq_tvm.tune.case import make_case
from lampq_tvm.tune.log import decode
from lampq_tvm.tune.run import tune_kernels
from tests.tune.kernels import SMALL, levels, target

ISA = levels()[-1]
KERNEL = ProductKernel(SMALL, ISA, 8, 8)
NAME = KERNEL.key
TRIALS = 9
BAD = {
    "crash": "__builtin_trap();",
    "hang": "for (volatile int i = 0;; i = 0) {}",
    "wrong": "return 0;",
}


def log_path(database):
    return database / "log" / ISA / f"{NAME}.jsonl"


def trials(database):
    return [decode(line) for line in log_path(database).read_bytes().splitlines()]


def library(folder, name, body):
    """A library whose kernel misbehaves."""
    source = folder / f"{name}.c"
    source.write_text(f"int __tvm_ffi_main(void *self, const void *args, int n, void *result) {{ {body} return 0; }}\n")
    out = folder / f"{name}.so"
    subprocess.run([shutil.which("cc") or "gcc", "-shared", "-fPIC", "-o", out, source], check=True)
    return out


def test_a_candidate_that_misbehaves_costs_itself_alone(tmp_path):
    with Measuring(target(ISA), find_device()) as measuring:
        case, good = measuring.write_case(make_case(KERNEL)), measuring.build(KERNEL, KERNEL.default)
        for outcome, body in BAD.items():
            bad = library(tmp_path, outcome, body)
            assert measuring.judge(case, [bad], rounds=1, limit_s=4)["outcome"] == outcome
        answer = measuring.judge(case, [good, good], rounds=3)
        assert answer["outcome"] == "exact"
        assert [len(samples) for samples in answer["samples"]] == [3, 3]


def test_the_search_survives_a_crash_and_refuses_wrong_outputs(tmp_path, monkeypatch):
    build, built = Measuring.build, []

    def sabotaged(self, kernel, tiles):
        built.append(tiles)
        if len(built) == 2:
            raise RuntimeError("LLVM says no")
        if len(built) in (3, 4):
            outcome = "crash" if len(built) == 3 else "wrong"
            return library(tmp_path, outcome, BAD[outcome])
        return build(self, kernel, tiles)

    monkeypatch.setattr(Measuring, "build", sabotaged)
    tune_kernels([KERNEL], target(ISA), trials=6, database=tmp_path / "db")
    outcomes = [trial["outcome"] for trial in trials(tmp_path / "db") if trial["phase"] == "search"]
    assert outcomes[:4] == ["exact", "build", "crash", "wrong"]
    assert set(outcomes[4:]) <= {"exact"}
    record = Record.model_validate_json(record_path(tmp_path / "db", ISA, NAME).read_bytes())
    assert record.failed == 3
    assert record.cost <= record.default_cost
    assert record.tiles.model_dump() not in [vars(tiles) for tiles in built[1:4]]


def test_a_wrong_default_schedule_is_an_error_and_leaves_no_record(tmp_path, monkeypatch):
    monkeypatch.setattr(Measuring, "build", lambda *_: library(tmp_path, "wrong", BAD["wrong"]))
    with pytest.raises(GateError):
        tune_kernels([KERNEL], target(ISA), trials=2, database=tmp_path / "db")
    assert not record_path(tmp_path / "db", ISA, NAME).exists()
    assert not log_path(tmp_path / "db").exists()


SCRIPT = """
import sys
from pathlib import Path
from tests.tune.kernels import target
from tests.tune.test_search import ISA, KERNEL, TRIALS
from lampq_tvm.tune.run import tune_kernels
tune_kernels([KERNEL], target(ISA), trials=TRIALS, database=Path(sys.argv[1]))
"""


def test_a_killed_search_goes_on_and_a_finished_one_repeats_itself(tmp_path, monkeypatch):
    database = tmp_path / "db"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(database)], env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    while not log_path(database).exists() or log_path(database).read_bytes().count(b"\n") < 4:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = trials(database)
    tune_kernels([KERNEL], target(ISA), trials=TRIALS, database=database)
    after = trials(database)
    assert before == after[: len(before)]  # nothing was lost
    searched = [trial["tiles"] for trial in after if trial["phase"] == "search"]
    assert len(set(searched)) == len(searched) == TRIALS  # nor measured twice
    path = record_path(database, ISA, NAME)
    record = path.read_bytes()

    # The whole search once more from the log alone: the same proposals, the same record, nothing measured.
    path.unlink()
    finished = log_path(database).read_bytes().splitlines(keepends=True)
    log_path(database).write_bytes(b"".join(finished[:-1]))
    monkeypatch.setattr(Measuring, "judge", lambda *_, **__: pytest.fail("measured again"))
    tune_kernels([KERNEL], target(ISA), trials=TRIALS, database=database)
    assert path.read_bytes() == record
    assert log_path(database).read_bytes().splitlines(keepends=True) == finished

    # And with everything finished it does not even search.
    monkeypatch.setattr("lampq_tvm.tune.search.Search.run", lambda *_: pytest.fail("searched again"))
    tune_kernels([KERNEL], target(ISA), trials=TRIALS, database=database)


def test_candidates_are_timed_on_the_cores_that_are_asked_for(tmp_path):
    """And trials on other cores are not taken for them."""
    program = "import sys; from lampq_tvm.tune.worker import Bench, tvm; Bench('local', 'host', int(sys.argv[1]))"
    program += "; print(tvm.get_global_func('runtime.NumThreads')())"
    for threads in ("1", "2"):
        done = subprocess.run([sys.executable, "-c", program, threads], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == threads
    for threads in (1, 2, 1):
        tune_kernels([KERNEL], target(ISA), trials=1, threads=threads, database=tmp_path)
    assert len({trial["identity"] for trial in trials(tmp_path)}) == 2
