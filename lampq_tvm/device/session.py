"""One client's session: a process group and a folder of its own, which end with its connection."""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import platform
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lampq_tvm import __version__
from lampq_tvm.device.clocks import read_cpu_clocks
from lampq_tvm.device.counter import count_call, read_counter
from lampq_tvm.device.folders import delete
from lampq_tvm.device.handshake import frame
from lampq_tvm.store import digest
from lampq_tvm.targets.machine import local_arch, local_features, local_identity

PDEATHSIG = 1
GRACE_S = 0.5
START_S = 10
IDENTITIES = ("/proc/device-tree/serial-number", "/etc/machine-id")  # the first that can be read
WELCOME = frame("server:lampq")  # its magic is the code of success


@dataclass(eq=False)
class Session:
    """A running session, as its server sees it.

    Attributes:
        connection: the server's own handle, by which it sees that the client is gone.
        ends_at: when it is killed (time.monotonic).
        left: whether its client is gone.
    """

    pid: int
    folder: Path
    connection: socket.socket
    ends_at: float
    left: bool = False

    def client_left(self) -> None:
        """Its client closed the connection or died: a session that does not end by itself is about to be killed."""
        self.left = True
        self.ends_at = min(self.ends_at, time.monotonic() + GRACE_S)

    def kill(self) -> None:
        """End its whole process group, whatever it does."""
        self.ends_at = float("inf")
        for end in (os.killpg, os.kill):  # the second where it has not made its group yet
            with contextlib.suppress(OSError):
                end(self.pid, signal.SIGKILL)

    def ended(self) -> bool:
        """Whether its process is gone."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def clean(self) -> None:
        """Wait for its end, close its connection, delete its folder; what it started and left behind ends too."""
        self.kill()  # the number is its own until it is waited for
        os.waitpid(self.pid, 0)
        hang_up(self.connection)
        delete(self.folder)


def hang_up(connection: socket.socket) -> None:
    """Close a connection, also where another process still holds it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def start(connection: socket.socket, folder: Path, limit_s: float, others: Iterable[int]) -> Session:
    """Start a session's process.

    Args:
        limit_s: how long it may last.
        others: file descriptors of the server that it has no business with.

    Raises:
        OSError: there is no room for another process.
    """
    server = os.getpid()
    pid = os.fork()
    if pid:
        return Session(pid, folder, connection, time.monotonic() + limit_s + START_S)
    status = 1
    try:
        _leave(server, others)
        _run(connection, folder, limit_s)
        status = 0
    except Exception as e:
        say(f"a session broke off ({' '.join(str(e).split())[:200]})")
    finally:
        os._exit(status)


def _leave(server: int, others: Iterable[int]) -> None:
    """Become a process that is nothing of the server's."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    for other in others:
        os.close(other)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # nobody reads the server's stdout any more: what a session prints would fill it
    os.setsid()
    ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:  # it died before that
        os._exit(1)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")  # memory runs out: the session goes, not the server


def preload() -> None:
    """Import what sessions need before the first fork, so that they start at once."""
    import tvm.rpc.server
    import tvm.runtime.vm  # noqa: F401


def _run(connection: socket.socket, folder: Path, limit_s: float) -> None:
    from tvm.rpc import server
    from tvm.support.utils import TempDirectory
    from tvm_ffi import register_global_func

    from lampq_tvm.spread import set_up_kernel_threads

    set_up_kernel_threads()
    os.chdir(folder)
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    register_global_func("lampq.device.info", lambda: json.dumps(device_info()), override=True)
    register_global_func("lampq.device.instructions", read_counter, override=True)
    register_global_func("lampq.device.count", _count, override=True)
    work = TempDirectory(custom_path=f"{folder}/work")
    connection.setblocking(True)
    connection.sendall(WELCOME)
    if math.isfinite(limit_s):
        signal.setitimer(signal.ITIMER_REAL, limit_s)  # SIGALRM ends it; the server does where it defends itself
    server._serve_loop(connection, None, work)


def _count(module: Any, function: str, *args: Any) -> str:
    call = module[function]
    return json.dumps(count_call(lambda: call(*args)))


def device_info() -> dict[str, object]:
    """What a client checks before it uploads code: architecture, features, versions; `emulated` names the board played.

    `identity` is the same by whatever address the machine is reached, and no other machine's; `clocks` are those of now.
    """
    model, emulated = Path("/proc/device-tree/model"), os.environ.get("LAMPQ_EMULATED")
    return {
        "arch": local_arch(),
        "features": sorted(local_features()),
        "cores": len(os.sched_getaffinity(0)),
        "emulated": emulated,
        "model": model.read_text(errors="replace").strip("\0\n") if model.exists() else platform.node(),
        "identity": machine_identity(),
        "clocks": None if emulated else read_cpu_clocks(),  # an emulated board sees the clocks of whoever plays it
        "lampq": __version__,
        "python": platform.python_version(),
    }


def machine_identity() -> str:
    """16 hex digits of what tells this machine from others: its name, its cores' models, its serial number or system's id."""
    found = [path.read_bytes() for path in map(Path, IDENTITIES) if os.access(path, os.R_OK)]
    return digest(local_identity(), *found[:1])[:16]


def say(line: str) -> None:
    """One line on stderr; none where nobody reads it: a full pipe must not stop a server."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is not None and select.select([], [2], [], 0)[1]:
            os.write(2, f"{line}\n".encode(errors="replace"))
