"""The device's key: made, kept, found, refused, and never told."""

import os
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from lampq_tvm.__main__ import run_command
from lampq_tvm.device.handshake import VALID_S, Gate, ask, prove
from lampq_tvm.device.key import client_key, read_key, server_key, write_key
from lampq_tvm.device.kinds import connect
from lampq_tvm.device.kinds.rpc import parse_rpc
from lampq_tvm.errors import DeviceError, LampqError, UnsupportedError, UsageError
from lampq_tvm.resources import PACKAGE
from tests.device.conftest import KEY, start_server


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch, tmp_path):
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "cache"))
    for name in ("LAMPQ_DEVICE_KEY", "LAMPQ_DEVICE_KEY_FILE"):
        monkeypatch.setenv(name, "")


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "board.key"
    write_key(path, KEY)
    return path


def refusal(error, run):
    """The one line of a refusal, which never holds the key."""
    with pytest.raises(error) as found:
        run()
    line = str(found.value)
    assert "\n" not in line and KEY not in line
    return line


def test_a_key_is_made_once_and_only_its_owner_reads_it(tmp_path):
    old = os.umask(0)
    try:
        key, path = server_key()
    finally:
        os.umask(old)
    assert path == tmp_path / "cache/device.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(bytes.fromhex(key)) >= 16
    assert server_key() == (key, path)
    path.unlink()
    assert server_key()[0] != key
    assert sorted(p.name for p in path.parent.iterdir()) == [".device.key.lock", "device.key"]


def test_a_servers_key_leaves_its_environment(monkeypatch):
    monkeypatch.setenv("LAMPQ_DEVICE_KEY", KEY)
    assert server_key() == (KEY, None)
    assert "LAMPQ_DEVICE_KEY" not in os.environ


def test_a_client_finds_its_key(key_file, monkeypatch):
    assert client_key() is None
    monkeypatch.setenv("LAMPQ_DEVICE_KEY_FILE", str(key_file))
    assert client_key() == KEY
    monkeypatch.setenv("LAMPQ_DEVICE_KEY", "0" * 32)
    assert client_key() == "0" * 32


@pytest.mark.parametrize("key", ["s", "0" * 21, "with spaces " * 4, "é" * 30, "0" * 513])
def test_what_is_no_key_is_refused(key, key_file, monkeypatch):
    key_file.write_text(key, "utf-8")
    line = refusal(UsageError, lambda: read_key(key_file))
    assert str(key_file) in line and key not in line.split()
    monkeypatch.setenv("LAMPQ_DEVICE_KEY", key)
    for side in (client_key, server_key):
        assert "$LAMPQ_DEVICE_KEY: " in refusal(UsageError, side)


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o640, 0o644, 0o666, 0o601])
def test_a_key_file_that_others_reach_is_refused(mode, key_file):
    key_file.chmod(mode)
    for side in (lambda: read_key(key_file), lambda: server_key(key_file)):
        assert f"mode {mode:04o}" in refusal(UsageError, side)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_file_of_another_owner_is_refused(key_file):
    os.chown(key_file, 65534, -1)
    assert "another user" in refusal(UsageError, lambda: read_key(key_file))


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("nothing", "No such file"), (".", "directory"), ("pipe", "not a key file")):
        assert words in refusal(UsageError, lambda name=name: read_key(tmp_path / name))


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "cache").write_text("")
    line = refusal(LampqError, server_key)
    assert "cannot be kept" in line and "--key-file" in line


@pytest.mark.parametrize("device", ["rpc://board:9190/{}", "rpc://{}@board:9190", "rpc://board:9190?key={}", "rpc://board/{}"])
def test_a_key_in_a_devices_name_is_refused_and_not_repeated(device):
    for run in (lambda: parse_rpc(device.format(KEY)), lambda: connect(device.format(KEY))):
        assert "--key-file" in refusal(UsageError, run)


@pytest.mark.parametrize("device", ["ssh://me:{}@board", "tracker://board:9190/{}", "http://x:1/{}", "board:9190/{}"])
def test_no_other_device_repeats_it_either(device):
    refusal((UsageError, UnsupportedError), lambda: parse_rpc(device.format(KEY)))


def test_a_challenge_serves_once(monkeypatch):
    gate, other = Gate(KEY), Gate(KEY)
    challenge, proof = gate.greet("nonce").split()
    assert proof == prove(KEY, "server", "nonce", challenge)
    word = f"client:{challenge}:{prove(KEY, 'client', challenge)}"
    assert not other.admits(word)  # of another server
    assert not gate.admits(f"client:{challenge}:{prove('0' * 32, 'client', challenge)}")
    assert not gate.admits(f"client:{challenge}:{proof}")
    assert gate.admits(word)
    assert not gate.admits(word)
    late = gate.greet("nonce").split()[0]
    now = time.monotonic() + VALID_S + 1
    monkeypatch.setattr("time.monotonic", lambda: now)
    assert not gate.admits(f"client:{late}:{prove(KEY, 'client', late)}")
    assert gate.admits(f"client:{KEY}")  # TVM's own client


@pytest.mark.parametrize("word", ["", "client:", "client::", "client:.:", "client:..:.", "client:" + "\udcff" * 9])
def test_words_that_prove_nothing(word):
    assert not Gate(KEY).admits(word)


def test_the_key_alone_proves_nothing():  # it differs from run to run, so it is no parameter
    assert not Gate(KEY).admits(KEY)


def test_keys_are_compared_in_constant_time(monkeypatch):
    """Whoever is let in was judged by hmac.compare_digest: where that always says yes, everybody is."""
    monkeypatch.setattr("hmac.compare_digest", lambda one, other: True)
    assert Gate(KEY).admits("client:guess")


def test_a_server_that_has_another_key_learns_nothing(tmp_path):
    """Whoever listens on a forwarded port gets neither the key nor an answer that serves elsewhere."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen():
            connection, _ = listener.accept()
            heard.append(connection.recv(4096))
            connection.close()

        thread = threading.Thread(target=listen)
        thread.start()
        device = f"rpc://127.0.0.1:{listener.getsockname()[1]}"
        assert "another key" in refusal(DeviceError, lambda: connect(device, key=KEY))
        thread.join()
    assert len(heard) == 1 and KEY.encode() not in heard[0]


def test_a_dripping_server_does_not_hold_a_client():
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b"\x71")
        before = time.monotonic()
        assert "another key" in refusal(DeviceError, lambda: ask(here, KEY, 0.5, "rpc://x:1"))
        assert time.monotonic() - before < 5


def told(pid):
    """What `ps` shows of a process and of all that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return Path(f"/proc/{pid}/cmdline").read_bytes() + b"".join(told(int(child)) for child in children)


def test_a_default_key_stands_in_its_file_and_nowhere_else(tmp_path, monkeypatch):
    """The whole road: a server without options, a client with its file; output, files and command lines searched."""
    cache, log = tmp_path / "board", tmp_path / "log"
    with log.open("w") as stderr:
        server = start_server(cache, stderr=stderr)
    key_file = cache / "device.key"
    key = read_key(key_file)
    assert "wants a key" in refusal(DeviceError, lambda: connect(server.address))
    monkeypatch.setenv("LAMPQ_DEVICE_KEY", KEY)
    assert "another key" in refusal(DeviceError, lambda: connect(server.address))
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "LAMPQ_DEVICE_KEY": KEY}  # the option wins
    command = [sys.executable, "-m", "lampq_tvm", "device", "doctor", server.address, "--json", "--key-file", str(key_file)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and '"arch"' in done.stdout, done.stderr
    with connect(server.address, key=key) as session:
        assert session.numpy(session.array(np.ones(2, np.float32))).tolist() == [1, 1]
        seen = told(server.process.pid) + done.stdout.encode() + done.stderr.encode() + session.device.encode()
        seen += b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path != key_file)
    assert server.ended() == 0
    assert str(key_file) in log.read_text() and key not in log.read_text() and key.encode() not in seen


def test_a_command_without_or_with_a_wrong_key_ends_with_5(local_server, tmp_path, monkeypatch):
    monkeypatch.setenv("LAMPQ_DEVICE_KEY", "")
    assert run_command(["device", "doctor", local_server.address]) == 5
    monkeypatch.setenv("LAMPQ_DEVICE_KEY", "0" * 32)
    assert run_command(["device", "doctor", local_server.address]) == 5
    assert run_command(["device", "doctor", f"{local_server.address}/{KEY}"]) == 2
    assert run_command(["device", "doctor", local_server.address, "--key-file", str(tmp_path / "nothing")]) == 2
