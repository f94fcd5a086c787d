"""A device server under clients that say nothing, say it slowly, die, or ask for what there is no room for."""

import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tvm

from lampq_tvm.device.cross import cross_compiler
from lampq_tvm.device.kinds import connect
from lampq_tvm.device.server import HANDSHAKE_S, LISTENING
from lampq_tvm.errors import DeviceError
from lampq_tvm.targets import resolve_target
from tests.device.conftest import KEY, start_server
from tests.device.trivial import hanging_module

pytestmark = pytest.mark.xdist_group("siege")  # of one server
SOON_S = 20  # on a busy machine; an idle one takes less than one


@pytest.fixture(scope="module")
def hanging(tmp_path_factory):
    """A library whose function does not return."""
    target = resolve_target("host")
    path = tmp_path_factory.mktemp("hanging") / "hanging.so"
    tvm.compile(hanging_module(), target=tvm.target.Target(target.tvm)).export_library(
        str(path), cc=cross_compiler(target.kind)
    )
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The server that is besieged; it outlives everything and leaves nothing."""
    folder = tmp_path_factory.mktemp("besieged")
    found = start_server(folder / "cache", LAMPQ_DEVICE_KEY=KEY)
    yield found
    assert found.ended() == 0
    assert list(folder.rglob("lampq-session-*")) == []


def works(server):
    """Seconds that a client with the key waited for its first answer."""
    before = time.monotonic()
    with connect(server.address, key=KEY) as session:
        assert session.numpy(session.array(np.ones(2, np.float32))).tolist() == [1, 1]
    return time.monotonic() - before


def dial(server, stack):
    return stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))


def closed(client):
    """Whether the server hung up; waits for it."""
    client.settimeout(HANDSHAKE_S + SOON_S)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_silent_clients_do_not_stop_one_with_the_key(server):
    with ExitStack() as stack:
        silent = [dial(server, stack) for _ in range(200)]
        assert works(server) < SOON_S
        assert all(closed(client) for client in silent[: 200 - LISTENING])  # the oldest at once, the others at their time
        assert closed(silent[-1])
        assert works(server) < SOON_S


def test_a_dripping_handshake_has_one_deadline(server):
    with ExitStack() as stack:
        client, start = dial(server, stack), time.monotonic()
        drops = struct.pack("<ii", 0xFF271, 1000) + b"client:" + b"x" * 900
        with pytest.raises(OSError):
            for drop in drops:
                client.sendall(bytes([drop]))
                time.sleep(0.1)
                assert time.monotonic() - start < HANDSHAKE_S + SOON_S
        assert time.monotonic() - start > HANDSHAKE_S / 2
        assert works(server) < SOON_S


def test_a_deadline_that_passes_between_two_looks_is_not_slept_over():
    """Found as a last silent client that stayed for a minute: its time ended after `run` had looked and before it slept."""
    code = """
import socket, time
from lampq_tvm.device.handshake import Gate, Listening
from lampq_tvm.device.server import Server
server = Server(socket.create_server(("127.0.0.1", 0)), Gate("k" * 32), 1, with_stdin=False)
ours, theirs = socket.socketpair()
server.listening.append(Listening(ours, "somewhere", time.monotonic() - 0.001))
before = time.monotonic()
server._wait()
print(time.monotonic() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert float(done.stdout) < SOON_S


def hang(server, library):
    """A process whose session hangs in a kernel."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            session = connect(server.address, key=KEY)
            run, x = session.load(library)["main"], session.array(np.zeros(1, np.int32))
            os.write(tell, b"!")
            run(x)
        finally:
            os._exit(1)
    os.close(tell)
    assert os.read(told, 1) == b"!"
    os.close(told)
    time.sleep(0.5)
    return pid


def session_processes(server):
    return Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()


def in_time(look):
    """What `look` still finds after a while: a session ends, and its folder goes, some time after its client."""
    deadline = time.monotonic() + SOON_S
    while (left := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def session_folders(place):
    return [name for _, names, _ in os.walk(place) for name in names if name.startswith("lampq-session-")]


def test_a_killed_clients_kernel_is_killed_too(server, hanging):
    for _ in range(2):
        pid = hang(server, hanging)
        assert len(session_processes(server)) == 1
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert works(server) < SOON_S
    assert in_time(lambda: session_processes(server)) == []


def test_a_client_that_gives_up_waiting_leaves_the_queue(server):
    with connect(server.address, key=KEY) as session:
        for _ in range(80):
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(struct.pack("<ii", 0xFF271, 7 + len(KEY)) + f"client:{KEY}".encode())
        assert session.info and session.numpy(session.array(np.ones(2, np.float32))).tolist() == [1, 1]
    assert works(server) < SOON_S


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        struct.pack("<ii", 0xFF271, -1),
        struct.pack("<ii", 0xFF271, 0),
        struct.pack("<ii", 0xFF271, 2**31 - 1),
        struct.pack("<ii", 0xFF271, 3) + b"\xff\xfe\x00",
        struct.pack("<ii", 0xFF271, 3) + b"   ",
        struct.pack("<ii", 0xFF271, 6) + b"lampq:",
        struct.pack("<ii", 0xFF271, 22) + b"client:k -timeout=1e99",
        struct.pack("<ii", 0xFF271, 21) + b"client:k -timeout=nan",
        struct.pack("<ii", 0xFF271, 20) + b"client:..:. \0\0\0\0\0\0\0\0",
    ],
)
def test_malformed_words_end_their_connection_alone(local_server, noise):
    with socket.create_connection(("127.0.0.1", local_server.port)) as client:
        client.sendall(noise)
        client.settimeout(SOON_S)
        while client.recv(4096):
            pass
    works(local_server)


@pytest.mark.parametrize("seconds", ["nan", "-1", "soon", ""])
def test_a_keyed_clients_malformed_time_limit_is_refused(local_server, seconds):
    text = f"client:{KEY} -timeout={seconds}".encode()
    with socket.create_connection(("127.0.0.1", local_server.port)) as client:
        client.sendall(struct.pack("<ii", 0xFF271, len(text)) + text)
        assert closed(client)
    works(local_server)


@pytest.mark.parametrize("seconds", [1e-9, 3e6, 1e99, float("inf")])
def test_any_time_limit_may_be_asked_for(local_server, seconds):
    with socket.create_connection(("127.0.0.1", local_server.port)) as client:
        text = f"client:{KEY} -timeout={seconds}".encode()
        client.sendall(struct.pack("<ii", 0xFF271, len(text)) + text)
        client.settimeout(SOON_S)
        assert client.recv(4) == struct.pack("<i", 0xFF271) or seconds < 1
    works(local_server)


def test_tvms_own_client_is_served(local_server):
    remote = tvm.rpc.connect("127.0.0.1", local_server.port, KEY, session_timeout=60)
    assert "arch" in remote.get_function("lampq.device.info")()
    with pytest.raises(Exception, match="cannot find server"):
        tvm.rpc.connect("127.0.0.1", local_server.port, "guess")


def test_a_folder_that_cannot_be_made_ends_a_session_and_not_the_server(tmp_path):
    (tmp_path / "temp").mkdir()
    server = start_server(tmp_path / "cache", LAMPQ_DEVICE_KEY=KEY, TMPDIR=str(tmp_path / "temp"))
    assert works(server) < SOON_S
    assert in_time(lambda: session_folders(tmp_path)) == []
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("")  # no folder can be made in it, by root neither
    assert works(server) < SOON_S  # in the temporary folder
    assert in_time(lambda: session_folders(tmp_path)) == []
    shutil.rmtree(tmp_path / "temp")
    (tmp_path / "temp").write_text("")
    for _ in range(2):
        with pytest.raises(DeviceError, match="cannot start a session") as error:
            connect(server.address, key=KEY)
        assert "\n" not in str(error.value)
    (tmp_path / "cache").unlink()
    assert works(server) < SOON_S  # in the cache again
    assert server.ended() == 0
    assert list(tmp_path.rglob("lampq-session-*")) == []


def test_no_more_files_end_a_connection_and_not_the_server(server):
    """As many open files as it has now and a few more."""
    pid, (soft, hard) = server.process.pid, resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(list(Path(f"/proc/{pid}/fd").iterdir())) + 6, hard))
    with ExitStack() as stack:
        silent = [dial(server, stack) for _ in range(40)]
        assert closed(silent[0])
        assert works(server) < HANDSHAKE_S + SOON_S
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert works(server) < SOON_S


def test_a_session_nested_too_deep_to_delete_is_deleted(server):
    with connect(server.address, key=KEY) as session:
        session.call(lambda: session.get_function("tvm.rpc.server.workpath")("x"))
        deep = next(Path(server.temp).glob("lampq-session-*"))
        here = os.open(deep, os.O_RDONLY)
        for _ in range(2000):
            os.mkdir("x", dir_fd=here)
            inner = os.open("x", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        os.close(here)
    assert works(server) < SOON_S
    assert not deep.exists()


def test_a_killed_servers_folders_are_deleted_by_the_next_one(tmp_path):
    first = start_server(tmp_path, LAMPQ_DEVICE_KEY=KEY)
    with connect(first.address, key=KEY) as session:
        session.upload(Path(__file__), "left")
        first.process.kill()
        first.process.wait()
        first.process.stdin.close()
        first.process.stdout.close()
        left = list(tmp_path.rglob("lampq-session-*"))
        assert len(left) == 1
    second, third = (start_server(tmp_path, LAMPQ_DEVICE_KEY=KEY) for _ in range(2))
    assert not left[0].exists() and len(list((tmp_path / "scratch").glob("*-*"))) == 2
    assert works(second) < SOON_S and works(third) < SOON_S  # neither took the other's for a dead one's
    assert second.ended() == third.ended() == 0
    assert list((tmp_path / "scratch").glob("*-*")) == []


def test_closed_standard_streams_do_not_end_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {**os.environ, "LAMPQ_CACHE": str(tmp_path), "LAMPQ_DEVICE_KEY": KEY}
    command = f"exec {sys.executable} -m lampq_tvm.device.serve --port {port} <&- >&- 2>&-"
    process = subprocess.Popen(["sh", "-c", command], env=env)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.2)
    with pytest.raises(DeviceError, match="refused"):
        connect(f"rpc://127.0.0.1:{port}", key="0" * 32)
    with connect(f"rpc://127.0.0.1:{port}", key=KEY) as session:
        assert session.info
        with pytest.raises(DeviceError):
            session.load_module("nothing.so")
    process.terminate()
    assert process.wait(60) == 0
