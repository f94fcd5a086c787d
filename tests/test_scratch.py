"""Temporary space: whose it is, when it goes, and that a verb's work stays in it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lampq_tvm.errors import OutputError
from lampq_tvm.scratch import check_room, scratch, scratch_dir, workspace

HOLD = """
import sys
from lampq_tvm.scratch import scratch
with scratch("work") as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def holder() -> tuple[subprocess.Popen[str], Path]:
    """A process that holds a scratch folder until its standard input closes, and the folder."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_it_lies_in_the_cache_and_goes_with_its_block(cache):
    with scratch("work") as folder:
        assert Path(folder).is_dir() and Path(folder).is_relative_to(cache / "scratch")
    assert not Path(folder).exists()


def test_it_goes_with_its_process(cache):
    process, folder = holder()
    assert folder.is_dir()
    process.communicate()
    assert process.returncode == 0
    assert [path.name for path in (cache / "scratch").iterdir()] == [".lock"]


def test_what_a_killed_process_left_goes_at_the_next_start_and_what_is_held_stays():
    (killed, left), (living, held) = holder(), holder()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert left.is_dir()
    with scratch("work"):
        assert not left.parent.exists() and held.is_dir()
    living.communicate()


def test_a_forked_child_shares_it_and_leaves_it(cache):
    mine = scratch_dir()
    script = (
        "import os, sys\nfrom lampq_tvm.scratch import scratch_dir\nfolder = scratch_dir()\n"
        "if os.fork() == 0:\n    sys.exit(folder != scratch_dir())\n"
        "code = os.waitstatus_to_exitcode(os.wait()[1])\nsys.exit(10 * (not folder.is_dir()) + code)\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
    assert list((cache / "scratch").iterdir()) == [cache / "scratch" / ".lock", mine] or mine.is_dir()


def test_verbs_at_work_write_there(cache, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/tmp")
    before = tempfile.gettempdir()
    with workspace(), workspace():
        assert Path(os.environ["TMPDIR"]) == scratch_dir() == Path(tempfile.gettempdir())
    assert (os.environ["TMPDIR"], tempfile.gettempdir()) == ("/tmp", before)


@pytest.fixture
def small_files():
    """No file may grow beyond 1 MiB, as on a full disk; also for an ordinary user."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_told_before_the_work(small_files):
    with pytest.raises(OutputError, match=r"no room for 16 MiB.*LAMPQ_CACHE"), workspace():
        raise AssertionError("work began")


def test_a_claim_that_fails_leaves_nothing(cache, small_files):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(OutputError, match="no room"):
            scratch_dir()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert [path.name for path in (cache / "scratch").iterdir()] == [".lock"]


def test_a_disk_that_fills_is_told(tmp_path, small_files, monkeypatch):
    monkeypatch.setattr("lampq_tvm.scratch.ROOM_BYTES", 1 << 10)
    check_room(tmp_path, 1 << 19)
    with pytest.raises(OutputError, match=r"cannot write: File too large"), workspace():
        (tmp_path / "large").write_bytes(bytes(1 << 21))


def test_a_cache_that_cannot_be_made_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OutputError, match=r"cannot write: Not a directory"):
        scratch_dir()
