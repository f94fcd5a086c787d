"""Stages in one cache: worked out once by whoever comes first, whole for everybody, in one order."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from lampq_tvm.errors import CorruptError, GateError
from lampq_tvm.locks import locked
from lampq_tvm.stage_cache import Cache, lock_path
from lampq_tvm.store import write_atomic


@dataclass
class Result:
    """A result of one JSON file, whose keys JSON sorts."""

    value: dict

    def save(self, path):
        write_atomic(path, json.dumps(self.value, sort_keys=True).encode())

    @classmethod
    def load(cls, path):
        try:
            return cls(json.loads(path.read_bytes()))
        except (OSError, ValueError) as e:
            raise CorruptError("damaged") from e


def test_a_stage_is_worked_out_once(tmp_path, capsys):
    count, start = [], threading.Barrier(8)

    def work(_):
        start.wait()
        cache = Cache(tmp_path)
        return cache.file(cache.folder("quantize", "key"), "result", Result, compute).value

    def compute():
        count.append(1)
        time.sleep(3)
        return Result({"x": len(count)})

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [{"x": 1}] * 8
    lines = capsys.readouterr().err.splitlines()
    assert len(count) == 1 and len(lines) == 7 and all("waiting for another lampq" in line for line in lines)


def test_a_fresh_result_is_what_a_kept_one_is(tmp_path):
    """Also in the order of its keys, which ends up in files."""
    cache = Cache(tmp_path)
    folder = cache.folder("quantize", "key")
    fresh, kept = (cache.file(folder, "r", Result, lambda: Result({"b": (1, 2), "a": 0.1})) for _ in range(2))
    assert list(fresh.value.items()) == list(kept.value.items()) == [("a", 0.1), ("b", [1, 2])]


def test_an_error_leaves_the_stage_to_the_next(tmp_path):
    cache = Cache(tmp_path)
    folder = cache.folder("build", "key")

    def fail():
        raise GateError("no")

    with pytest.raises(GateError):
        cache.file(folder, "r", Result, fail)
    assert cache.file(folder, "r", Result, lambda: Result({})).value == {}


def test_a_damaged_result_is_made_again_with_a_line(tmp_path, capsys):
    cache = Cache(tmp_path)
    folder = cache.folder("build", "key")
    folder.mkdir(parents=True)
    (folder / "r").write_bytes(b"{")
    assert cache.file(folder, "r", Result, lambda: Result({"x": 1})).value == {"x": 1}
    assert any(line == f"{folder / 'r'}: damaged; it is made again" for line in capsys.readouterr().err.splitlines())


def test_stages_nest_in_the_order_of_the_road_alone(tmp_path):
    """Two commands that each hold what the other one wants would wait for ever."""

    def stage(cache, name, inner=None):
        nested = (lambda: Result({"inner": stage(cache, inner).value})) if inner else (lambda: Result({}))
        return cache.file(cache.folder(name, inner), "r", Result, nested)

    assert stage(Cache(tmp_path), "build", "quantize").value == {"inner": {}}
    for outer, inner in (("calibrate", "quantize"), ("build", "build")):
        with pytest.raises(AssertionError, match=f"{inner} is asked for while {outer}"):
            stage(Cache(tmp_path / outer), outer, inner)


def test_a_finished_result_is_read_while_the_lock_is_held(tmp_path):
    cache = Cache(tmp_path)
    folder = cache.folder("import", "key")
    cache.file(folder, "r", Result, lambda: Result({"x": 1}))
    with locked(lock_path(folder), "the test"):
        assert cache.file(folder, "r", Result, lambda: Result({})).value == {"x": 1}


def test_units_of_another_folder_are_used_under_its_lock(tmp_path):
    """Calibration at few widths shares its observations with that at all widths, which removes them when it ends."""
    cache, seen = Cache(tmp_path), []
    base, few = cache.folder("calibrate", "key"), cache.folder("calibrate", "key", (8,))

    def compute():
        with locked(lock_path(few), "free"):
            seen.append(lock_path(base).exists() and not lock_path(base).samefile(lock_path(few)))
        return Result({})

    cache.get(few, "r", lambda f: Result.load(f / "r"), compute, lambda f, r: r.save(f / "r"), base)
    assert seen == [True]
