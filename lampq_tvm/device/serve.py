"""The device's server: TVM's RPC protocol, each session in a process and a folder of its own.

TVM's own server starts a second interpreter, ends when a session crashes, and listens on every address. Whoever connects can
run any code, so this one listens on loopback and is reached through ssh, unless its user says that the network is trusted.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

from lampq_tvm import __version__
from lampq_tvm.device.counter import count_call, read_counter
from lampq_tvm.device.machine import local_arch, local_features
from lampq_tvm.errors import DeviceError, UsageError

HANDSHAKE_S = 20
PDEATHSIG = 1


def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    key: str = "",
    trust_network: bool = False,
    sessions: int = 1,
    with_stdin: bool = False,
) -> None:
    """Serve until interrupted, or until stdin closes (`with_stdin`): then whoever started it is gone.

    Prints `ready PORT` on stdout once connections are accepted.

    Args:
        sessions: how many are served at a time; more than one would spoil each other's times.

    Raises:
        UsageError: an address other than loopback without `trust_network`.
        DeviceError: the address cannot be used.
    """
    if host not in ("127.0.0.1", "localhost", "::1") and not trust_network:
        hint = "listen on 127.0.0.1 and connect through ssh -L, or say that this network is trusted"
        raise UsageError("whoever reaches this server can run any code here", where=host, hint=hint)
    import tvm.rpc.server  # noqa: F401  (before the first fork, so that sessions start at once)

    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=8)
    except OSError as e:
        raise DeviceError(f"cannot listen ({e.strerror})", where=f"{host}:{port}", hint="choose another port") from e
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, _interrupt)
    print(f"ready {listener.getsockname()[1]}", flush=True)
    running: dict[int, str] = {}  # process -> its folder
    try:
        while True:
            watched = [woken, *([sys.stdin] if with_stdin else []), *([listener] if len(running) < sessions else [])]
            ready, _, _ = select.select(watched, [], [])
            if sys.stdin in ready:
                return
            if woken in ready:
                os.read(woken, 4096)
                for pid in [pid for pid in running if os.waitpid(pid, os.WNOHANG)[0]]:
                    shutil.rmtree(running.pop(pid), ignore_errors=True)
            if listener in ready:
                pid, folder = _start(listener, key)
                running[pid] = folder
    except KeyboardInterrupt:
        return
    finally:
        listener.close()
        for pid, folder in running.items():
            os.kill(pid, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _start(listener: socket.socket, key: str) -> tuple[int, str]:
    connection, _ = listener.accept()
    folder = tempfile.mkdtemp(prefix="lampq-session-")
    pid = os.fork()
    if pid:
        connection.close()
        return pid, folder
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        listener.close()
        ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGKILL)
        _session(connection, key, folder)
        status = 0
    except OSError as e:
        print(f"session refused: {e}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def _session(connection: socket.socket, key: str, folder: str) -> None:
    from tvm.rpc import base, server
    from tvm.support.utils import TempDirectory
    from tvm_ffi import register_global_func

    from lampq_tvm.runtime.machine import count_cores

    count_cores()
    connection.settimeout(HANDSHAKE_S)
    if not connection.recv(1, socket.MSG_PEEK):  # someone who only looked whether the port is open
        return
    magic, size = struct.unpack("<ii", base.recvall(connection, 8))
    if magic != base.RPC_MAGIC or not 0 < size < 4096:
        raise OSError("not an RPC client")
    words = bytes(base.recvall(connection, size)).decode("utf-8", errors="replace").split()
    if words[:1] != [f"client:{key}"]:
        connection.sendall(struct.pack("<i", base.RPC_CODE_MISMATCH))
        raise OSError("wrong key")
    name = f"server:{key}".encode()
    connection.sendall(struct.pack("<ii", base.RPC_CODE_SUCCESS, len(name)) + name)
    connection.settimeout(None)
    limits = [float(w.removeprefix("-timeout=")) for w in words[1:] if w.startswith("-timeout=")]
    if limits and limits[0] > 0:
        signal.setitimer(signal.ITIMER_REAL, limits[0])  # SIGALRM ends the process: a hung kernel cannot hold the device
    os.chdir(folder)
    register_global_func("lampq.device.info", lambda: json.dumps(device_info()), override=True)
    register_global_func("lampq.device.instructions", read_counter, override=True)
    register_global_func("lampq.device.count", _count, override=True)
    server._serve_loop(connection, None, TempDirectory(custom_path=f"{folder}/work"))


def _count(module: Any, function: str, *args: Any) -> str:
    call = module[function]
    return json.dumps(count_call(lambda: call(*args)))


def device_info() -> dict[str, object]:
    """What a client checks before it uploads code: architecture, features, versions; `emulated` names the board played."""
    model = Path("/proc/device-tree/model")
    return {
        "arch": local_arch(),
        "features": sorted(local_features()),
        "cores": len(os.sched_getaffinity(0)),
        "emulated": os.environ.get("LAMPQ_EMULATED"),
        "model": model.read_text(errors="replace").strip("\0\n") if model.exists() else platform.node(),
        "lampq": __version__,
        "python": platform.python_version(),
    }


def main() -> None:
    """`python -m lampq_tvm.device.serve`; the key comes from `$LAMPQ_DEVICE_KEY`, since arguments are seen by everyone."""
    parser = argparse.ArgumentParser(prog="lampq-device-serve")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--with-stdin", action="store_true")
    args = parser.parse_args()
    key = os.environ.get("LAMPQ_DEVICE_KEY", "")
    serve(args.host, args.port, key=key, sessions=args.sessions, with_stdin=args.with_stdin)


if __name__ == "__main__":
    main()
