"""Work is spread without threads inside an item, in bounded memory, and failures and Ctrl-C end it at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest
import torch

from lampq_tvm import spread as module
from lampq_tvm.spread import AHEAD, fitting_jobs, one_thread, spread, torch_alone, usable_cores


@pytest.fixture
def threaded():
    """Torch takes two threads an operation outside."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def system_threads():
    return {path.name for path in Path("/proc/self/task").iterdir()}


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_results_come_in_order_whatever_ends_first(jobs):
    def late(x):
        time.sleep(0.02 * (x % 3 == 0))
        return x * x

    assert list(spread(late, iter(range(20)), jobs)) == [x * x for x in range(20)]
    assert list(spread(late, [], jobs)) == []


@pytest.mark.usefixtures("threaded")
def test_every_item_is_computed_by_one_thread():
    """Operations large enough for OpenMP and MKL start no thread, in any of torch's libraries, autograd included."""
    images, weight = torch.randn(8, 3, 64, 64), torch.randn(512, 512, requires_grad=True)

    def compute(_):
        before = system_threads()
        torch.nn.functional.conv2d(images, torch.randn(64, 3, 8, 8)).exp().sum()
        (weight @ weight).square().sum().backward()
        torch.linalg.cholesky((weight @ weight.T).detach().double() + 1e4 * torch.eye(512))
        mine = {str(t.native_id) for t in threading.enumerate()}
        return torch.get_num_threads(), system_threads() - before - mine

    found = []
    plain = threading.Thread(target=lambda: found.append(compute(0)))
    plain.start()
    plain.join()
    assert found[0][0] == 2 and found[0][1]  # a thread as it comes does start others
    assert list(spread(compute, range(12), 3)) == [(1, set())] * 12
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("threaded")
def test_threads_are_given_back_by_the_last_who_leaves():
    with one_thread():
        assert torch.get_num_threads() == 1
        assert list(spread(lambda x: torch.get_num_threads(), range(3), 2)) == [1, 1, 1]
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError):
        list(spread(lambda x: 1 // x, [0], 2))
    half = spread(lambda x: x, range(100), 2)
    next(half)
    half.close()
    assert torch.get_num_threads() == 2


def test_few_items_are_held_however_many_there_are():
    made, done = [], []

    def items():
        for i in range(60):
            made.append(i)
            yield i

    for found in spread(lambda x: x, items(), 3):
        done.append(found)
        assert len(made) - len(done) < AHEAD * 3
    assert done == made == list(range(60))


def test_as_many_are_computed_at_once_as_were_asked_for():
    together = threading.Barrier(4, timeout=20)
    assert list(spread(lambda x: (together.wait(), x)[1], range(8), 4)) == list(range(8))


def test_a_failure_ends_the_rest_at_once_and_names_its_item():
    ended = []

    def compute(x):
        if x == 1:
            raise ValueError("broken")
        try:
            for _ in range(10_000):
                time.sleep(0.005)
        finally:
            ended.append(x)
        return x

    start = time.monotonic()
    with pytest.raises(ValueError, match="broken") as caught:
        list(spread(compute, range(100), 3, lambda x: f"item {x}"))
    assert time.monotonic() - start < 10
    assert set(ended) <= {0, 2}
    assert not [t for t in threading.enumerate() if t.name.startswith("lampq-")]
    if sys.version_info >= (3, 11):
        assert "at item 1" in "".join(traceback.format_exception(caught.value))


def test_a_failure_of_the_items_or_of_their_reader_ends_the_threads():
    def broken():
        yield 1
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(spread(lambda x: x, broken(), 2))
    with pytest.raises(ZeroDivisionError):
        for found in spread(lambda x: x, range(10), 2):
            _ = 1 // found
    assert not [t for t in threading.enumerate() if t.name.startswith("lampq-")]


INTERRUPTED = """
import signal, sys, time
import torch
from lampq_tvm.spread import spread

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it

def compute(x):
    sys.stdout.write(f"{x}\\n")  # in one piece: two processes share the pipe
    sys.stdout.flush()
    for _ in range(100_000):
        torch.ones(100) + 1
        time.sleep(0.001)

try:
    list(spread(compute, range(100), 2))
except KeyboardInterrupt:
    sys.exit(130)
"""


BROKEN = """
import sys
from lampq_tvm.spread import spread

sys.setswitchinterval(1e-6)  # threads take turns at every step
for i in range(150):
    try:
        list(spread(lambda x: 1 // (x - i % 4), range(20), 8))
    except ZeroDivisionError:
        pass
"""


def test_a_failure_while_threads_begin_or_end_is_told_once():
    done = subprocess.run([sys.executable, "-c", BROKEN], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_ends_at_once():
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    started = {child.stdout.readline(), child.stdout.readline()}
    assert started == {"0\n", "1\n"}
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err) == (130, "", "")


def test_cores_are_those_of_the_process_and_of_its_container(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)))
    for text, cores in (("max 100000\n", 12), ("350000 100000\n", 3), ("50000 100000\n", 1), ("nonsense", 12)):
        (tmp_path / "cpu.max").write_text(text)
        monkeypatch.setattr(module, "CPU_QUOTA", tmp_path / "cpu.max")
        assert usable_cores() == cores
    monkeypatch.setattr(module, "CPU_QUOTA", Path("/nowhere"))
    assert usable_cores() == 12


def test_fewer_at_once_where_memory_is_short(monkeypatch):
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 8 << 30}))
    assert fitting_jobs(16, 1 << 30) == 4
    assert fitting_jobs(3, 1 << 30) == 3
    assert fitting_jobs(16, 64 << 30) == 1
    assert fitting_jobs(None, 1) == usable_cores()


def test_an_import_is_alone_with_torch():
    """While a model is imported no other thread computes: torch.export turns switches that change the order of sums."""
    seen: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def compute():
        with one_thread():
            inside.set()
            leave.wait(30)
            seen.append("computed")

    def bring():
        with torch_alone(), one_thread():
            seen.append("imported")

    first = threading.Thread(target=compute)
    first.start()
    inside.wait(30)
    second = threading.Thread(target=bring)
    second.start()
    second.join(0.3)
    assert seen == []
    leave.set()
    first.join(30)
    second.join(30)
    assert seen == ["computed", "imported"]
    with one_thread(), torch_alone(), one_thread():  # a thread does not wait for itself
        pass
