"""`lampq cache`: what it shows, what goes first, what stays, and that damaged files of the cache are made again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

import lampq_tvm
from lampq_tvm.api.caching import parse_age, parse_size
from lampq_tvm.api.running import cached_model
from lampq_tvm.artifact.container import read_artifact
from lampq_tvm.errors import UsageError
from lampq_tvm.stage_cache import lock_path
from lampq_tvm.store import Units
from tests.cli.conftest import FEW, MODEL

DAY = 86400


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A cache with four finished stages, used 1, 10, 40 and 50 days ago, of 1000 bytes each, and other things."""
    root = tmp_path / "cache"
    monkeypatch.setenv("LAMPQ_CACHE", str(root))
    for days, stage in ((1, "import"), (10, "calibrate"), (40, "build"), (50, "plan")):
        made(root / "stages" / stage / f"{days:032d}" / "result.st", days, 1000)
    made(root / "tuning" / "avx2" / "record.json", 90, 500)
    made(root / "tracebacks" / "a.txt", 90, 10)
    made(root / "board-0123" / "install.json", 90, 300)
    made(root / "mine" / "notes.txt", 90, 700)
    return root


def made(path: Path, days: int, size: int) -> None:
    """A file that was last used some days ago, and its folder."""
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(size))
    for place in (path, path.parent):
        os.utime(place, 2 * (time.time() - days * DAY,))


def stages(root: Path) -> list[str]:
    return sorted(path.parent.name for path in root.glob("stages/*/*") if path.is_dir())


def test_it_shows_what_lies_there(own, lampq):
    found = json.loads(lampq("cache", "--json").out.splitlines()[-1])
    rows = {row["kind"]: row for row in found["kinds"]}
    assert (rows["build"]["number"], rows["build"]["bytes"]) == (1, 1000)
    assert rows["build"]["oldest_age_s"] // DAY == 40 and rows["tuning"]["bytes"] == 500
    assert found["bytes"] == 4 * 1000 + 500 + 10 + 300 and found["removed"] == {"number": 0, "bytes": 0}
    assert found == lampq_tvm.cache()
    shown = lampq("cache")
    assert shown.code == 0 and "40 d" in shown.out and str(own) in shown.out


def test_the_least_recently_used_go_until_it_fits(own, lampq):
    done = lampq("cache", "--max-size", "2.9KiB", "--json")
    assert stages(own) == ["calibrate", "import"]
    assert json.loads(done.out.splitlines()[-1])["removed"] == {"number": 2, "bytes": 2000}
    assert (own / "tuning/avx2/record.json").exists() and (own / "board-0123").exists()


def test_what_cannot_go_for_size_is_said(own, lampq):
    done = lampq("cache", "--max-size", "100B")
    assert stages(own) == [] and "810 bytes are left" in done.err


def test_what_is_old_goes(own, lampq):
    assert lampq("cache", "--older-than", "30d").code == 0
    assert stages(own) == ["calibrate", "import"] and not (own / "tracebacks/a.txt").exists()
    assert (own / "board-0123").exists()


def test_clear_keeps_tuning_and_what_is_not_ours(own, lampq):
    assert lampq("cache", "clear").code == 0
    assert stages(own) == [] and not (own / "board-0123").exists()
    assert (own / "tuning/avx2/record.json").exists() and (own / "mine/notes.txt").exists()


def test_a_stage_that_is_worked_on_stays(own, lampq):
    folder = next((own / "stages/plan").iterdir())
    lock_path(folder).parent.mkdir()
    with FileLock(lock_path(folder)):
        lampq("cache", "clear")
        assert stages(own) == ["plan"]
    lampq("cache", "clear")
    assert stages(own) == []


def test_what_a_running_command_uses_stays(own, lampq):
    script = "import sys; from lampq_tvm.scratch import scratch_dir; scratch_dir(); print(flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    running = subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe)
    assert running.stdout is not None and running.stdout.readline()
    used = next((own / "stages/plan").glob("*/result.st"))
    os.utime(used)
    lampq("cache", "clear")
    assert stages(own) == ["plan"] and (own / "board-0123").exists()
    running.communicate()
    lampq("cache", "clear")
    assert stages(own) == [] and not (own / "board-0123").exists()


@pytest.mark.parametrize("argv", [["--max-size", "much"], ["--max-size", "-5"], ["--older-than", "soon"], ["empty"]])
def test_wrong_arguments_are_one_line(own, lampq, argv):
    done = lampq("cache", *argv)
    assert done.code == 2 and done.line
    assert len(stages(own)) == 4


def test_sizes_and_ages():
    assert parse_size("1.5GiB") == 3 << 29 and parse_size("7") == parse_size(7) == 7 and parse_size(None) is None
    assert parse_age("2w") == 14 * DAY and parse_age(5) == 5 and parse_age(None) is None
    with pytest.raises(UsageError, match="LAMPQ_CACHE_SIZE"):
        parse_size("5 apples", "LAMPQ_CACHE_SIZE")


@pytest.fixture
def compiled(data, tmp_path, monkeypatch, lampq):
    """How to compile into a cache of its own, and the cache."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("LAMPQ_CACHE", str(cache))

    def call(*argv: str):
        return lampq("compile", *MODEL, "--data", data, *FEW, "--target", "host", "-o", tmp_path / "a.lampq", *argv)

    return call, cache, tmp_path / "a.lampq"


def test_a_remembered_limit_holds_after_each_command(compiled, monkeypatch):
    call, cache, _ = compiled
    monkeypatch.setenv("LAMPQ_CACHE_SIZE", "some")
    assert call().line.startswith("error: LAMPQ_CACHE_SIZE: some is not a size")
    monkeypatch.setenv("LAMPQ_CACHE_SIZE", "64KiB")
    assert call().code == 0
    assert sum(path.stat().st_size for path in cache.glob("stages/**/*") if path.is_file()) <= 64 << 10


@pytest.mark.parametrize("content", [b"", b"\xff\xfe damaged \x00"])
def test_damaged_files_of_stages_are_made_again(compiled, content):
    call, cache, output = compiled
    assert call().code == 0
    whole = output.read_bytes()
    files = [path for path in cache.glob("stages/*/*/*") if path.is_file()]
    for path in files:
        path.write_bytes(content)
    again = call()
    assert again.code == 0 and "Traceback" not in again.err and output.read_bytes() == whole
    assert again.err.count("it is made again") >= 1
    damaged = set(files) - {path for path in files if path.read_bytes() != content}
    assert not [path for path in damaged if str(path) in again.err]


def test_a_damaged_unit_is_made_again(tmp_path, capsys):
    units = Units(tmp_path)
    units.get("layer0", dict)
    (file,) = tmp_path.glob("*.unit")
    file.write_bytes(b"")
    units.get("layer0", dict)
    assert f"{file}: " in capsys.readouterr().err and file.stat().st_size


@pytest.mark.parametrize("content", [b"", b"\xff", b"../../../etc", b"0" * 32 + b"\0"])
def test_a_damaged_note_of_a_float_model_is_said(compiled, content, capsys):
    call, cache, output = compiled
    assert call().code == 0
    artifact = read_artifact(output)
    assert cached_model(artifact) is not None
    (note,) = (cache / "float-models").iterdir()
    note.write_bytes(content)
    capsys.readouterr()
    assert cached_model(artifact) is None and "damaged" in capsys.readouterr().err
