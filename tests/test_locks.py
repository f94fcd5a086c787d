"""Locks between threads and processes: one holder, a line for whoever waits, nothing left by a kill."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from lampq_tvm import locks
from lampq_tvm.errors import OutputError
from lampq_tvm.locks import locked

HOLDER = """
import sys, time
from pathlib import Path
from lampq_tvm.locks import locked
with locked(Path(sys.argv[1]), "the test"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def hold(path, seconds):
    """A process that holds a lock."""
    command = [sys.executable, "-c", HOLDER, str(path), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_one_thread_at_a_time(tmp_path):
    inside, most = [0], [0]

    def work():
        for _ in range(10):
            with locked(tmp_path / "a.lock", "the test"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.001)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] and inside == [0]


def test_who_waits_says_so_once(tmp_path, capsys):
    other = hold(tmp_path / "a.lock", 3)
    start = time.monotonic()
    with locked(tmp_path / "a.lock", "the same"):
        assert time.monotonic() - start > 0.5
    assert capsys.readouterr().err.splitlines() == [
        "waiting for another lampq, which is at the same work (the same); what it finishes is taken over"
    ]
    other.communicate()


def test_a_killed_holder_holds_nothing(tmp_path):
    other = hold(tmp_path / "a.lock", 600)
    other.send_signal(signal.SIGKILL)
    other.communicate()
    start = time.monotonic()
    with locked(tmp_path / "a.lock", "the test"):
        assert time.monotonic() - start < 5


@pytest.fixture
def interruptible():
    """A shell's background job ignores Ctrl-C, and so would the processes that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_waiting_process_can_be_interrupted(tmp_path, interruptible):
    first = hold(tmp_path / "a.lock", 600)
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "a.lock"), "0"]
    second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert second.stderr.readline().startswith("waiting for another lampq")
    second.send_signal(signal.SIGINT)
    assert second.wait(10) == -signal.SIGINT  # how Python ends on a KeyboardInterrupt that nobody catches
    second.communicate()
    first.kill()
    first.communicate()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys, code):
    """Nothing is held, nobody waits, and one line says so for a folder."""

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    locks._locks_work.cache_clear()
    with locked(tmp_path / "a.lock", "the test") as first, locked(tmp_path / "a.lock", "the test") as second:
        assert (first, second) == (False, False)
    line = f"{tmp_path}: its file system has no locks, so commands that run at once may do the same work twice"
    assert capsys.readouterr().err.splitlines() == [line]
    assert not list(tmp_path.iterdir())


def test_a_lock_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="LAMPQ_CACHE"), locked(tmp_path / "file" / "a.lock", "the test"):
        raise AssertionError("not held")


def test_errors_of_the_work_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), locked(tmp_path / "a.lock", "the test"):
        (tmp_path / "none").read_bytes()
    with locked(tmp_path / "a.lock", "the test"):
        pass
