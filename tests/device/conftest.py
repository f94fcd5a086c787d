"""The emulated board and a server on this machine, for tests that need a device."""

import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

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


KEY = secrets.token_hex(16)


@dataclass
class LocalServer:
    """A device server on this machine: everything but the architecture, and quick to start."""

    process: subprocess.Popen
    port: int
    cache: Path

    @property
    def address(self):
        return f"rpc://127.0.0.1:{self.port}"

    @property
    def temp(self):
        """The folder of its sessions' folders."""
        return str(next((self.cache / "scratch").glob(f"{self.process.pid}-*")))

    def ended(self):
        """Its exit code once its stdin is closed."""
        self.process.stdin.close()
        code = self.process.wait(60)
        self.process.stdout.close()
        return code


def start_server(cache, *args, stderr=None, **env):
    """A server with a cache and temporary folder of its own; without a key unless `env` has one."""
    given = {k: v for k, v in os.environ.items() if not k.startswith("LAMPQ_DEVICE")}
    given |= {"LAMPQ_CACHE": str(cache), "TMPDIR": str(cache), "PYTHONPATH": str(PACKAGE.parent), "TVM_USE_RUNTIME_LIB": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "lampq_tvm.device.serve", "--with-stdin", *args],
        env=given | env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    return LocalServer(process, int(process.stdout.readline().split()[1]), cache)


@pytest.fixture(scope="module")
def local_server(tmp_path_factory):
    """A server whose key this process has in its environment."""
    cache = tmp_path_factory.mktemp("server")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAMPQ_DEVICE_KEY", KEY)
        server = start_server(cache, LAMPQ_DEVICE_KEY=KEY)
        yield server
    assert server.ended() == 0
    assert list(cache.rglob("lampq-session-*")) == []
