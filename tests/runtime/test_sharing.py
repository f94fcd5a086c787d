"""One loaded model used by threads and forked children, and what closing it gives back."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lampq_tvm.artifact.container import Artifact, write_artifact
from lampq_tvm.errors import UsageError
from lampq_tvm.runtime import Runner, load
from tests.boards import runs_here, target_of
from tests.compiler.networks import artifact, images, quantized

HOST = next((isa for isa in ("vbmi", "vnni", "avx2") if runs_here(isa)), None)
pytestmark = pytest.mark.skipif(HOST is None, reason="no x86 level to run here")
LOADS = 200
FORK_S, START_S = 60, 240
ALONE = "from lampq_tvm.lean import leave_torch_out\nleave_torch_out()\n"  # else TVM imports it, which takes seconds


@pytest.fixture(scope="module")
def compiled() -> Artifact:
    return artifact(quantized("one block", "4/4"), target_of(HOST), 3)


@pytest.fixture(scope="module")
def path(compiled, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sharing") / "model.lampq"
    write_artifact(path, compiled.sections, {k: v for k, v in compiled.manifest.items() if k not in ("schema", "sections")})
    return path


def test_threads_of_idle_models_leave_the_cores_alone(path):
    """Found as torch in the same process a hundred times slower: workers of three models looked for work for a second."""
    code = f"""{ALONE}
import sys, time
import numpy as np
from lampq_tvm.runtime import load
runners = [load(sys.argv[1], threads=2) for _ in range(3)]
for runner in runners:
    runner(np.zeros((1, 3, 20, 20), np.uint8))
time.sleep(0.1)
before = time.process_time()
time.sleep(0.4)
print(time.process_time() - before)
"""
    env = {**os.environ, "TVM_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=env, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.1


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run `work(i)` in so many threads at once; raises what the first of them raised."""
    raised: list[BaseException] = []
    start = threading.Barrier(count)

    def run(i: int) -> None:
        start.wait()
        try:
            work(i)
        except BaseException as e:
            raised.append(e)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def in_fork(work: Callable[[], bool]) -> int:
    """Exit code of a forked child in which `work` says whether all is well; the child ends as a program does."""
    child = os.fork()
    if child == 0:
        signal.alarm(FORK_S)
        code = 3
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("floats", [False, True])
def test_eight_threads_share_one_model(compiled, floats):
    pixels = images("one block", 8)
    given = ((pixels / 255 - 0.5) / 0.5).astype(np.float32) if floats else pixels
    with Runner(compiled) as runner:
        expected = [runner(given[i : i + 1]) for i in range(8)]

        def work(i: int) -> None:
            for turn in range(100):
                k = (i + turn) % 8
                assert (runner(given[k : k + 1]) == expected[k]).all()

        in_threads(8, work)


def test_traces_and_times_share_it_too(compiled):
    pixels = images("one block", 3)
    with Runner(compiled) as runner:
        whole, values = runner(pixels), runner.trace(pixels)

        def work(i: int) -> None:
            for _ in range(20):
                if i % 3 == 0:
                    assert (runner(pixels) == whole).all()
                elif i % 3 == 1:
                    assert all((array == values[name]).all() for name, array in runner.trace(pixels).items())
                else:
                    assert len(runner.bench(2, warmup=1)) == 2

        in_threads(6, work)


def test_threads_load_and_close_their_own(path):
    pixels = images("one block", 3)
    with load(path) as runner:
        expected = runner(pixels)

    def work(_: int) -> None:
        for _ in range(10):
            with load(path, threads=1) as mine:
                assert (mine(pixels) == expected).all()

    in_threads(4, work)


@pytest.mark.parametrize("threads", [None, 1])
def test_a_forked_child_goes_on_with_it(compiled, threads):
    pixels = images("one block", 3)
    runner = Runner(compiled, threads=threads)
    expected = runner(pixels)
    for _ in range(3):
        assert in_fork(lambda: bool((runner(pixels) == expected).all())) == 0
    assert (runner(pixels) == expected).all()
    runner.close()


def test_a_fork_while_threads_call_it(compiled):
    pixels = images("one block", 3)
    runner = Runner(compiled)
    expected, done = runner(pixels), threading.Event()

    def work(i: int) -> None:
        if i == 0:
            try:
                assert [in_fork(lambda: bool((runner(pixels) == expected).all())) for _ in range(10)] == [0] * 10
            finally:
                done.set()
        while not done.is_set():
            assert (runner(pixels) == expected).all()

    in_threads(4, work)
    runner.close()


def test_a_forked_child_that_ends_as_programs_do(path, tmp_path):
    np.save(tmp_path / "x.npy", images("one block", 3))
    script = (
        ALONE + "import os, sys, numpy as np\nfrom lampq_tvm import load\n"
        "runner, x = load(sys.argv[1]), np.load(sys.argv[2])\nexpected = runner(x)\nchild = os.fork()\n"
        "if child:\n    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "right = (runner(x) == expected).all()\nrunner.close()\nsys.exit(0 if right else 1)\n"
    )
    command = [sys.executable, "-c", script, str(path), str(tmp_path / "x.npy")]
    assert subprocess.run(command, timeout=START_S).returncode == 0


LOADING = """
import os, sys, threading
from lampq_tvm.runtime.sharing import Turn

sys.setswitchinterval(1e-6)  # threads take turns at every step
models, end = [Turn() for _ in range(2000)], threading.Event()

def load():
    mine = []
    while not end.is_set():
        mine = [*mine[-50:], Turn()]

threads = [threading.Thread(target=load) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(60):
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)
end.set()
"""


def test_a_process_that_loads_models_may_fork():
    done = subprocess.run([sys.executable, "-c", LOADING], timeout=START_S, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def held() -> tuple[int, int, int, int]:
    """What this process has: mappings, kilobytes, open files, threads."""
    gc.collect()
    mappings = len(Path("/proc/self/maps").read_text().splitlines())
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 10
    files, threads = (sum(1 for _ in Path(folder).iterdir()) for folder in ("/proc/self/fd", "/proc/self/task"))
    return mappings, resident, files, threads


def test_closing_gives_everything_back(path):
    pixels = images("one block", 3)

    def use() -> None:
        runner = load(path)
        runner(pixels)
        runner.trace(pixels)
        runner.close()

    for _ in range(20):
        use()
    before = held()
    for _ in range(LOADS):
        use()
    mappings, resident, files, threads = (after - b for after, b in zip(held(), before, strict=True))
    assert "lampq" not in Path("/proc/self/maps").read_text().replace(str(Path.cwd()), "")
    assert files == threads == 0
    assert mappings < LOADS / 10  # the allocator's own; one kept library is four of them
    assert resident < 8 << 10  # kept parameters of this model would be 13 kB a time, its library 60


def test_a_closed_model_says_so(path):
    runner = load(path)
    runner.close()
    runner.close()
    for use in (lambda: runner(images("one block", 1)), lambda: runner.trace(images("one block", 1)), lambda: runner.bench(1)):
        with pytest.raises(UsageError, match="this model was closed; load it again"):
            use()


def test_closing_waits_for_the_call_that_runs(compiled):
    pixels = images("one block", 8)
    runner = Runner(compiled)
    expected = runner(pixels)

    def work(i: int) -> None:
        if i == 0:
            runner.close()
            return
        try:
            assert (runner(pixels) == expected).all()
        except UsageError as e:
            assert "closed" in str(e)

    in_threads(4, work)


def test_models_of_one_process_keep_their_own_threads_and_libraries(compiled):
    """A handle's number is used again: the loader must not take a library for the one before it."""
    other = artifact(quantized("one block", "8/8"), target_of(HOST), 1)
    pixels = images("one block", 3)
    with Runner(compiled, threads=1) as first, Runner(other, threads=2) as second:
        a, b = first(pixels), second(pixels)
        with Runner(compiled, threads=2) as third:
            assert (third(pixels) == a).all()
        assert (first(pixels) == a).all() and (second(pixels) == b).all() and (a != b).any()
