"""Full disks end with exit code 8 and one line, wherever they are; temporary folders outside the cache are not needed."""

from __future__ import annotations

import functools
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import FEW, MODEL


@functools.cache
def private_mounts() -> list[str] | None:
    """Command prefix that gives a process mounts of its own; None where this system allows no user that."""
    for options in (["--mount"], ["--map-root-user", "--mount"]):
        command = ["unshare", *options]
        try:
            if subprocess.run([*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0:
                return command
        except OSError:
            return None
    return None


def on_small_disk(
    folder: Path, size: str, *argv: str | Path, program: tuple[str, ...] = ("-m", "lampq_tvm"), **env: str
) -> subprocess.CompletedProcess[str]:
    """The program where `folder` is a disk of its own of `size`; where that cannot be, the test is skipped."""
    prefix = private_mounts()
    if prefix is None:
        pytest.skip("no mounts of its own for this user; tests/test_scratch.py limits the size of files instead")
    folder.mkdir(exist_ok=True)
    command = shlex.join([sys.executable, *program, *map(str, argv)])
    script = f"mount -t tmpfs -o size={size} none {shlex.quote(str(folder))} && exec {command}"
    return subprocess.run(
        [*prefix, "sh", "-c", script], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", **env}
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a full disk."""
    lines = done.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert done.returncode == 8 and errors == lines[-1:], (done.returncode, done.stderr[-2000:])
    assert "Traceback" not in done.stderr
    return errors[0]


@pytest.fixture
def request_(data, tmp_path):
    return ["compile", *MODEL, "--data", data, *FEW, "--target", "host", "-o", tmp_path / "a.lampq"]


def test_a_full_folder_of_temporary_files_stops_nothing(request_, tmp_path):
    done = on_small_disk(tmp_path / "tmp", "4k", *request_, TMPDIR=str(tmp_path / "tmp"), LAMPQ_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr[-2000:]
    done = on_small_disk(
        tmp_path / "tmp", "4k", *request_, "--no-cache", TMPDIR=str(tmp_path / "tmp"), LAMPQ_CACHE=str(tmp_path / "cache")
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert [path.name for path in (tmp_path / "cache" / "scratch").iterdir()] == [".lock"]


@pytest.mark.parametrize("size", ["4k", "8m"])
def test_a_full_cache(request_, tmp_path, size):
    done = on_small_disk(tmp_path / "cache", size, *request_, LAMPQ_CACHE=str(tmp_path / "cache"))
    assert "No space left on device" in one_line(done)


def test_a_cache_that_fills_while_it_links(request_, tmp_path):
    script = "import lampq_tvm.scratch as s, lampq_tvm.__main__ as m; s.ROOM_BYTES = 1 << 10; m.main()"
    cache = tmp_path / "cache"
    done = on_small_disk(cache, "600k", *request_, program=("-c", script), LAMPQ_CACHE=str(cache))
    assert "No space left on device" in one_line(done)


def test_a_full_disk_of_the_output(request_, tmp_path, cache):
    request_[-1] = tmp_path / "out" / "a.lampq"
    done = on_small_disk(tmp_path / "out", "16k", *request_)
    assert "No space left on device" in one_line(done)
    assert not list((tmp_path / "out").iterdir())


def test_a_board_with_no_room_at_all_runs_artifacts(request_, tmp_path, lampq):
    assert lampq(*request_).code == 0
    np.save(tmp_path / "x.npy", np.zeros((3, 1, 16, 16), np.float32))
    files = [request_[-1], "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy"]
    nowhere = dict.fromkeys(("LAMPQ_CACHE", "HOME", "XDG_CACHE_HOME"), "/proc/nowhere")
    done = on_small_disk(tmp_path / "tmp", "4k", "run", *files, TMPDIR=str(tmp_path / "tmp"), **nowhere)
    assert done.returncode == 0, done.stderr[-2000:]
    assert np.load(tmp_path / "y.npy").shape == (3, 4)


def test_a_full_standard_output():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "lampq_tvm", "targets"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert "No space left on device" in one_line(done)
