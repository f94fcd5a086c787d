"""The emulated boards: they look like Arm boards to programs, and cross-compiled code gives the host's numbers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tvm

from lampq_tvm.device.count import count_instructions, counting_session
from lampq_tvm.device.cross import cross_compiler
from lampq_tvm.device.emulate import cpuinfo, running_board
from lampq_tvm.device.kinds import connect
from lampq_tvm.errors import DeviceError
from lampq_tvm.resources import PACKAGE
from lampq_tvm.targets import boards, resolve_target
from tests.device.trivial import trivial_module

LOOK = """
import json, sys, platform, importlib.util
import numpy as np
from lampq_tvm.targets.machine import check_runs_here, local_features
try:
    check_runs_here("aarch64", ["asimddp"])
    dot = True
except Exception as e:
    dot = str(e)
print(json.dumps({
    "machine": platform.machine(), "sum": int(np.arange(5).sum()), "executable": sys.executable, "dot": dot,
    "features": sorted(local_features()), "torch": importlib.util.find_spec("torch") is not None}))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Code that runs on every Arm board."""
    path = tmp_path_factory.mktemp("arm") / "trivial.so"
    code = tvm.compile(trivial_module(), target=tvm.target.Target(resolve_target("raspberry-pi-4").tvm))
    code.export_library(str(path), cc=cross_compiler("aarch64"))
    return path


@pytest.mark.parametrize("name", ["pi4", "pi5"])
def test_programs_see_the_board(name, request):
    board = request.getfixturevalue(name)
    done = board.run_python(["-c", LOOK])
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["machine"], seen["sum"]) == ("aarch64", 10)
    assert seen["executable"] == str(board.python)
    assert seen["features"] == sorted(board.board.cpu.features)
    assert not seen["torch"]  # the host's packages are not the board's
    assert (seen["dot"] is True) == (name == "pi5")


def test_cpuinfo_lists_every_core():
    board = boards()["jetson-agx-orin-64gb"]
    text = cpuinfo(board)
    assert text.count("processor") == 12 == text.count("asimddp")


def test_the_command_line_starts_on_the_board(pi5):
    done = pi5.run_python(["-m", "lampq_tvm", "--help"])
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout


def test_a_failing_program_shows_its_status_and_a_hanging_one_is_ended(pi5):
    assert pi5.run_python(["-c", "import sys; sys.exit(7)"]).returncode == 7
    before = time.monotonic()
    with pytest.raises(DeviceError, match="no answer in 2 s"):
        pi5.run_python(["-c", "while True: pass"], timeout_s=2)
    assert time.monotonic() - before < 60


def test_cross_compiled_code_gives_the_same_bits_over_rpc(counting_pi5, library):
    x = np.random.default_rng(0).standard_normal(64).astype(np.float32)
    here = tvm.runtime.tensor(np.zeros(64, np.float32))
    tvm.compile(trivial_module(), target=tvm.target.Target(resolve_target("host").tvm))["main"](tvm.runtime.tensor(x), here)
    with connect(counting_pi5.address, resolve_target("raspberry-pi-4"), key=counting_pi5.key) as session:
        assert session.emulated and session.info["emulated"] == "raspberry-pi-5"
        assert session.clocks() is None  # those of the machine that plays it are not the board's
        with pytest.raises(DeviceError, match="mean nothing"):
            session.check_times()
        there = session.array(np.zeros(64, np.float32))
        run = session.load(library)["main"]
        session.call(lambda: run(session.array(x), there))
        np.testing.assert_array_equal(session.numpy(there), here.numpy())


def test_a_functions_count_is_the_same_in_every_session(counting_pi5, library):
    counts = []
    for _ in range(2):
        with connect(counting_pi5.address, key=counting_pi5.key) as session:
            x, y = session.array(np.zeros(64, np.float32)), session.array(np.zeros(64, np.float32))
            module = session.load(library)
            counts.append([session.count(module, "main", x, y) for _ in range(3)])
    assert counts[0] == counts[1]
    assert all(16 < n < 100_000 for n in counts[0])


def test_a_programs_count_is_the_same_twice_and_grows_with_its_work(pi5):
    program = "import sys\nfor _ in range(int(sys.argv[1])): sum(range(int(sys.argv[2])))"

    def one(size):
        return count_instructions(pi5, lambda n: ["-S", "-c", program, str(n), str(size)])

    small = one(1000)
    assert small == one(1000)
    assert one(2000) > 1.5 * small > 1000


def test_a_failing_counted_program_is_a_device_error(pi5):
    with pytest.raises(DeviceError, match="ZeroDivisionError"):
        count_instructions(pi5, lambda n: ["-S", "-c", "1 / 0"])


def test_a_board_without_the_dot_product_refuses_code_that_needs_it(pi4):
    with counting_session(resolve_target("raspberry-pi-4")) as session:
        assert session.info["emulated"] == "raspberry-pi-4"
        with pytest.raises(Exception, match="lacks asimddp"):
            session.check("aarch64", resolve_target("raspberry-pi-5").features)


def test_an_emulated_device_started_by_hand_is_shared_and_leaves_nothing(pi4, tmp_path):
    command = [sys.executable, "-c", "from lampq_tvm.device.emulate import emulate; emulate('raspberry-pi-4')"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    assert "--device emulated" in process.stderr.readline()
    port, key = running_board("raspberry-pi-4")
    with connect("emulated", resolve_target("raspberry-pi-4")) as one, connect(f"rpc://127.0.0.1:{port}", key=key) as two:
        assert one.info == two.info and one.emulated and two.emulated
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    process.stderr.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), 5)
