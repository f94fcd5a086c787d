"""Tuners that share a database: no trial is measured twice, and each ends with the record."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from lampq_tvm.kernels.tunable import ProductKernel
from lampq_tvm.records.cpu import read_record
from lampq_tvm.tune.log import decode
from lampq_tvm.tune.run import tune_kernels
from tests.tune.kernels import SMALL, levels, target

ISA = levels()[-1]
KERNELS = [ProductKernel(SMALL, ISA, w, 8) for w in (8, 4)]
TRIALS = 5
TUNER = """
import sys
from pathlib import Path
from tests.tune.test_company import KERNELS, TRIALS, target, tune_kernels, ISA
tune_kernels(KERNELS, target(ISA), trials=TRIALS, database=Path(sys.argv[1]))
"""


def check(database):
    for kernel in KERNELS:
        lines = (database / "log" / ISA / f"{kernel.key}.jsonl").read_bytes().splitlines()
        tried = [(trial["phase"], str(trial.get("tiles"))) for trial in map(decode, lines)]
        assert len(set(tried)) == len(tried) >= TRIALS + 2  # each candidate, the comparison of the best, and the end: once
        record = read_record(database, ISA, kernel.key)
        assert record is not None and record.trials == TRIALS


def test_two_processes(tmp_path):
    """Each with a cache of its own, else one would wait until the other has measured everything."""
    command = [sys.executable, "-c", TUNER, str(tmp_path / "database")]
    envs = [{**os.environ, "OMP_NUM_THREADS": "1", "LAMPQ_CACHE": str(tmp_path / name)} for name in ("one", "two")]
    running = [subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) for env in envs]
    said = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert not any("measures on" in text for text in said)
    check(tmp_path / "database")


def test_threads(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        orders = (KERNELS, KERNELS[::-1])
        made = [pool.submit(tune_kernels, order, target(ISA), trials=TRIALS, database=tmp_path) for order in orders]
        assert [one.result() for one in made] == [tmp_path, tmp_path]
    check(tmp_path)
