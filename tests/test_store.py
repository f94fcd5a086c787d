"""Files and units of work that any number of threads and processes write at once."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lampq_tvm.store import Units, load_stage, save_stage, write_atomic


def test_a_folder_that_is_removed_while_files_are_written(tmp_path):
    """Another process ends its stage and removes the units between the making of the folder and of the file."""
    stop, folder = threading.Event(), tmp_path / "units"

    def remove():
        while not stop.is_set():
            shutil.rmtree(folder, ignore_errors=True)
            stop.wait(0.02)

    thread = threading.Thread(target=remove)
    thread.start()
    try:
        for i in range(400):
            write_atomic(folder / f"{i}", b"x")
    finally:
        stop.set()
        thread.join()
    write_atomic(folder / "last", b"x")
    assert not list(folder.glob(".*.tmp"))


def test_the_mode_of_a_file(tmp_path):
    write_atomic(tmp_path / "script", b"#!/bin/sh\n", 0o755)
    write_atomic(tmp_path / "data", b"")
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("script", "data")] == [0o755, 0o644]


def test_units_by_many_threads(tmp_path):
    """Whoever reads a unit has it whole, and a damaged one is made again by whoever finds it."""

    def work(seed):
        units, rng = Units(tmp_path), np.random.default_rng(seed)
        for i in rng.permutation(40):
            if rng.random() < 0.2:
                for path in tmp_path.glob("*.unit"):
                    path.write_bytes(b"damaged")
                    break
            found = units.get(f"unit {i}", lambda i=i: {"b": np.full(1000, i), "a": np.arange(i)})
            assert list(found) == ["a", "b"] and (found["b"] == i).all() and len(found["a"]) == i
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_a_shared_unit_is_worked_out_once(tmp_path):
    count, start = [], threading.Barrier(6)

    def work(_):
        start.wait()
        return float(Units(tmp_path, shared="the test").get("one", compute)["x"])

    def compute():
        count.append(1)
        return {"x": np.array(len(count) / 2)}

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(work, range(6))) == {0.5}
    assert len(count) == 1


def test_equal_results_are_equal_bytes(tmp_path):
    one = {"b": np.arange(4.0), "a": np.ones((2, 2), np.int8)}
    save_stage(tmp_path / "1", "test", {"y": 1, "x": {"b": 0.1, "a": [1]}}, one)
    save_stage(tmp_path / "2", "test", {"x": {"a": [1], "b": 0.1}, "y": 1}, dict(reversed(one.items())))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert list(load_stage(tmp_path / "1", "test")[0]) == ["x", "y"]
