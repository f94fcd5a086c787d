"""The emulated board and a server on this machine, for tests that need a device."""

import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from lampq_tvm.device import count
from lampq_tvm.device.emulate import EmulatedBoard
from lampq_tvm.errors import DeviceError
from lampq_tvm.resources import PACKAGE


def provisioned(name):
    """A board, or a skip with one line where it cannot be had; never a skip in CI."""
    try:
        return EmulatedBoard(name)
    except DeviceError as e:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(e))


@pytest.fixture(scope="session")
def pi4():
    return provisioned("raspberry-pi-4")


@pytest.fixture(scope="session")
def pi5():
    return provisioned("raspberry-pi-5")


@pytest.fixture(scope="session")
def counting_pi5(tmp_path_factory):
    """A running board with the counter."""
    board = provisioned("raspberry-pi-5")
    board.start(env=count.counting_environment(board, tmp_path_factory.mktemp("count") / "instructions"))
    yield board
    board.stop()


@dataclass
class LocalServer:
    process: subprocess.Popen
    port: int
    temp: str

    @property
    def address(self):
        return f"rpc://127.0.0.1:{self.port}/secret"


@pytest.fixture(scope="module")
def local_server(tmp_path_factory):
    """The device server on this machine: everything but the architecture, and quick to start."""
    tmp_path = tmp_path_factory.mktemp("server")
    env = {**os.environ, "LAMPQ_DEVICE_KEY": "secret", "TMPDIR": str(tmp_path), "PYTHONPATH": str(PACKAGE.parent)}
    env["TVM_USE_RUNTIME_LIB"] = "1"
    process = subprocess.Popen(
        [sys.executable, "-m", "lampq_tvm.device.serve", "--with-stdin"],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield LocalServer(process, int(process.stdout.readline().split()[1]), str(tmp_path))
    process.stdin.close()
    assert process.wait(60) == 0
    process.stdout.close()
    assert list(tmp_path.glob("lampq-session-*")) == []
