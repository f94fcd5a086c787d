"""The device server and its sessions, on this machine: files, functions, hangs, crashes, wrong keys."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tvm

from lampq_tvm.device.cross import cross_compiler
from lampq_tvm.device.key import read_key
from lampq_tvm.device.kinds import connect
from lampq_tvm.device.kinds.rpc import parse_rpc
from lampq_tvm.device.serve import serve
from lampq_tvm.errors import DeviceError, UnsupportedError, UsageError
from lampq_tvm.resources import PACKAGE
from lampq_tvm.runtime import Runner
from lampq_tvm.targets import resolve_target
from tests.boards import runs_here, target_of
from tests.compiler.networks import artifact, images, quantized
from tests.device.trivial import trivial_module


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    target = resolve_target("host")
    path = tmp_path_factory.mktemp("host") / "trivial.so"
    tvm.compile(trivial_module(), target=tvm.target.Target(target.tvm)).export_library(
        str(path), cc=cross_compiler(target.kind)
    )
    return path


def test_a_function_runs_there_and_files_come_back(local_server, library):
    x = np.arange(64, dtype=np.float32)
    with connect(local_server.address, resolve_target("host")) as session:
        assert session.device == f"rpc://127.0.0.1:{local_server.port}"
        assert session.info["arch"] == resolve_target("host").kind
        assert not session.emulated
        y = session.array(np.zeros(64, np.float32))
        run = session.load(library)["main"]
        session.call(lambda: run(session.array(x), y))
        np.testing.assert_array_equal(session.numpy(y), 2 * x + 1)
        assert session.fetch(library.name) == library.read_bytes()
        assert len(list(Path(local_server.temp).glob("lampq-session-*"))) == 1
        assert session.instructions() == -1
        with pytest.raises(DeviceError, match="does not count"):
            session.count(session.load(library), "main")


def test_every_image_gets_its_own_output(local_server):
    """Three images through a batch of one, there and here."""
    isa = next((isa for isa in ("vbmi", "vnni", "avx2") if runs_here(isa)), None)
    if isa is None:
        pytest.skip("no x86 level to run here")
    compiled, pixels = artifact(quantized("one block", "4/4"), target_of(isa), 1), images("one block", 3)
    expected = Runner(compiled)(pixels)
    assert len(np.unique(expected, axis=0)) == 3
    with Runner(compiled, local_server.address) as runner:
        assert (runner(pixels) == expected).all()


def test_a_closed_session_frees_the_device_though_its_tensors_are_held(local_server):
    first = connect(local_server.address)
    held = first.array(np.zeros(4, np.float32))
    first.close()
    with connect(local_server.address) as second:
        assert second.info
    assert held is not None


def test_a_hung_session_ends_and_the_next_one_is_served(local_server):
    with connect(local_server.address, session_timeout_s=0.5) as session:
        time.sleep(1)
        with pytest.raises(DeviceError, match="connection broke") as error:
            session.array(np.zeros(4, np.float32))
    assert "\n" not in str(error.value)
    with connect(local_server.address) as session:
        assert session.numpy(session.array(np.ones(2, np.float32))).tolist() == [1, 1]


def test_a_crashed_session_does_not_end_the_server(local_server):
    children = Path(f"/proc/{local_server.process.pid}/task/{local_server.process.pid}/children")
    with connect(local_server.address) as session:
        os.kill(int(children.read_text().split()[0]), signal.SIGSEGV)
        with pytest.raises(DeviceError):
            session.array(np.zeros(4, np.float32))
    with connect(local_server.address) as session:
        assert session.info


def test_a_failing_call_is_one_line(local_server):
    with connect(local_server.address) as session:
        with pytest.raises(DeviceError, match="failed there") as error:
            session.load_module("nothing.so")
        assert "\n" not in str(error.value)
        with pytest.raises(UsageError, match="cannot be read"):
            session.upload("nothing.so")


def test_a_wrong_key_is_refused_and_the_right_one_still_works(local_server):
    for key in ("", "guess" * 8):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(DeviceError, match="refused the connection"):
            patch.setenv("LAMPQ_DEVICE_KEY", key)
            connect(local_server.address)
    with connect(local_server.address) as session:
        assert session.info


def test_noise_on_the_port_does_not_end_the_server(local_server):
    for noise in (b"", b"GET / HTTP/1.0\r\n\r\n", b"\x71\xf2\x0f\x00\xff\xff\xff\x7f"):
        with socket.create_connection(("127.0.0.1", local_server.port)) as client:
            client.sendall(noise)
    with connect(local_server.address) as session:
        assert session.info


def test_code_for_another_architecture_is_refused(local_server):
    with pytest.raises(UnsupportedError, match="the code is for"):
        connect(local_server.address, {"target": "raspberry-pi-5", "arch": "other", "features": []})
    with pytest.raises(UnsupportedError, match="lacks warp-drive"):
        connect(local_server.address, {"target": "host", "arch": resolve_target("host").kind, "features": ["warp-drive"]})


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_the_server_dies_with_whoever_started_it(tmp_path, monkeypatch):
    code = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-m', 'lampq_tvm.device.serve', '--with-stdin'],\n"
        "                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)\n"
        "print(p.stdout.readline().split()[1], flush=True)\n"
        "time.sleep(600)\n"
    )
    monkeypatch.delenv("LAMPQ_DEVICE_KEY", raising=False)
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path))
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "TVM_USE_RUNTIME_LIB": "1"}
    starter = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True)
    port = int(starter.stdout.readline())
    connect(f"rpc://127.0.0.1:{port}", key=read_key(tmp_path / "device.key")).close()
    starter.kill()
    starter.wait()
    starter.stdout.close()
    deadline = time.monotonic() + 60
    while (there := listens(port)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not there, "the server outlived its starter"


def test_an_open_address_needs_trust():
    with pytest.raises(UsageError, match="any code"):
        serve("0.0.0.0")


@pytest.mark.parametrize("device", ["ssh://me@board", "tracker://127.0.0.1:9190/orin"])
def test_devices_that_are_not_there_yet(device):
    with pytest.raises(UnsupportedError, match="not there yet"):
        connect(device)


@pytest.mark.parametrize(
    "device", ["", "board", "rpc://board", "rpc://board:0", "rpc://board:70000", "rpc://a b:1", "http://x:1"]
)
def test_what_is_no_device_is_refused(device):
    with pytest.raises(UsageError, match="not a device"):
        connect(device)


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(DeviceError, match="cannot be reached"):
        connect(f"rpc://127.0.0.1:{port}")


def test_addresses_are_read():
    assert parse_rpc("rpc://board:9190") == ("board", 9190)
    assert parse_rpc("rpc://[::1]:9190") == ("::1", 9190)


def test_x86_code_has_no_emulated_board():
    with pytest.raises(UnsupportedError, match="emulated boards are aarch64"):
        connect("emulated", {"target": "host", "arch": "x86", "features": []})
