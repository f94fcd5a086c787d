"""The device server under siege: how long one client with the key waits beside silent, dripping and killed ones.

    python -m bench.trust.server_siege                       (this machine; figures in bench/results/server_siege.json)
    python -m bench.trust.server_siege --silent 20 --dripping 5 --killed 2 --sessions 5

Silent clients connect and say nothing; dripping ones send one byte of their first words a second; who is dropped comes again
at once. A killed client's session hangs in a compiled function that does not return when the client gets SIGKILL. The client
with the key opens sessions all the while: each connects, uploads a compiled library, calls it, compares the answer and closes.
`free_s` is the longest time from a SIGKILL until the killed client's session is gone.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import secrets
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.common.run import ROOT, arguments, finish, machine
from lampq_tvm.device.kinds import connect
from lampq_tvm.progress import note, track

COLUMNS = ("beside", "sessions", "median_s", "longest_s", "longest_call_s", "free_s")
WORDS = struct.pack("<ii", 0xFF271, 1000) + b"client:"
HANG_S = 0.2


@contextlib.contextmanager
def served(folder: Path, key: str) -> Iterator[tuple[int, int]]:
    """A server on this machine: its process and port."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LAMPQ_CACHE": str(folder), "LAMPQ_DEVICE_KEY": key}
    command = [sys.executable, "-m", "lampq_tvm.device.serve", "--with-stdin"]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        yield process.pid, int(process.stdout.readline().split()[1])
        process.stdin.close()


def libraries(folder: Path) -> dict[str, Path]:
    """Two compiled functions: one that answers, and one that hangs."""
    import tvm

    from lampq_tvm.device.cross import cross_compiler
    from lampq_tvm.targets import resolve_target
    from tests.device.trivial import hanging_module, trivial_module

    target, found = resolve_target("host"), {}
    for name, module in (("answering", trivial_module()), ("hanging", hanging_module())):
        found[name] = folder / f"{name}.so"
        built = tvm.compile(module, target=tvm.target.Target(target.tvm))
        built.export_library(str(found[name]), cc=cross_compiler(target.kind))
    return found


def session(address: str, key: str, library: Path) -> tuple[float, float]:
    """Seconds of one whole session, and of its longest call."""
    x, calls = np.arange(64, dtype=np.float32), []

    def timed(run: Callable[[], Any]) -> Any:
        start = time.monotonic()
        result = run()
        calls.append(time.monotonic() - start)
        return result

    start = time.monotonic()
    with connect(address, key=key) as remote:
        call, y = timed(lambda: remote.load(library))["main"], remote.array(np.zeros(64, np.float32))
        there = remote.array(x)
        for _ in range(5):
            timed(lambda: remote.call(lambda: call(there, y)))
        if not np.array_equal(timed(lambda: remote.numpy(y)), 2 * x + 1):
            raise SystemExit("a wrong answer")
    return time.monotonic() - start, max(calls)


class Crowd(threading.Thread):
    """Clients that are silent or drip, and come again when they are dropped."""

    def __init__(self, port: int, silent: int, dripping: int) -> None:
        super().__init__(daemon=True)
        self.port, self.sizes, self.dropped, self.ended = port, (silent, dripping), 0, False

    def run(self) -> None:
        """Until `ended`."""
        silent, dripping = ([(self._dial(), 0) for _ in range(size)] for size in self.sizes)
        while not self.ended:
            silent = [self._again(client, sent) for client, sent in silent]
            dripping = [self._again(*self._drip(client, sent)) for client, sent in dripping]
            time.sleep(1)
        for client, _ in silent + dripping:
            client.close()

    def _dial(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port))
        client.setblocking(False)
        return client

    def _drip(self, client: socket.socket, sent: int) -> tuple[socket.socket, int]:
        with contextlib.suppress(OSError):
            client.send(WORDS[sent : sent + 1] or b"x")
        return client, sent + 1

    def _again(self, client: socket.socket, sent: int) -> tuple[socket.socket, int]:
        try:
            gone = client.recv(1) == b""
        except BlockingIOError:
            gone = False
        except OSError:
            gone = True
        if not gone:
            return client, sent
        client.close()
        self.dropped += 1
        return self._dial(), 0


def hang(address: str, key: str, library: str, hanging: Any) -> None:
    """A client whose session does not come back."""
    with connect(address, key=key) as remote:
        call, x = remote.load(library)["main"], remote.array(np.zeros(1, np.int32))
        hanging.set()
        call(x)


class Killer(threading.Thread):
    """Kills clients, one after the other, each a moment after its kernel hangs."""

    def __init__(self, count: int, server: int, *client: Any) -> None:
        super().__init__(daemon=True)
        self.count, self.client, self.done, self.free_s = count, client, 0, 0.0
        self.children = Path(f"/proc/{server}/task/{server}/children")

    def run(self) -> None:
        """Until all are killed."""
        start = multiprocessing.get_context("forkserver")
        start.set_forkserver_preload(["tvm", "lampq_tvm.device.rpc"])
        for _ in range(self.count):
            hanging = start.Event()
            victim = start.Process(target=hang, args=(*self.client, hanging))
            victim.start()
            hanging.wait()
            time.sleep(HANG_S)
            held = self.children.read_text()
            victim.kill()
            killed = time.monotonic()
            while self.children.read_text() == held:
                time.sleep(0.005)
            self.free_s = max(self.free_s, time.monotonic() - killed)
            victim.join()
            self.done += 1


def row(beside: str, seconds: list[tuple[float, float]], free_s: float | None = None) -> dict[str, Any]:
    """A row of the table."""
    whole, call = zip(*seconds, strict=True)
    figures = (statistics.median(whole), max(whole), max(call), free_s)
    rounded = [None if figure is None else round(figure, 3) for figure in figures]
    return dict(zip(COLUMNS, (beside, len(seconds), *rounded), strict=True))


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "server_siege")
    for name, count in (("silent", 200), ("dripping", 50), ("killed", 20), ("sessions", 50)):
        parser.add_argument(f"--{name}", type=int, default=count)
    args: argparse.Namespace = parser.parse_args()
    facts, key, rows = machine(), secrets.token_hex(16), []
    with tempfile.TemporaryDirectory() as temp, served(Path(temp) / "cache", key) as (server, port):
        found, address = libraries(Path(temp)), f"rpc://127.0.0.1:{port}"
        session(address, key, found["answering"])  # imports and first uses are nobody's wait
        rows.append(row("nobody", [session(address, key, found["answering"]) for _ in track(range(args.sessions), "alone")]))
        crowd = Crowd(port, args.silent, args.dripping)
        crowd.start()
        time.sleep(2)
        beside = f"{args.silent} silent, {args.dripping} dripping"
        rows.append(row(beside, [session(address, key, found["answering"]) for _ in track(range(args.sessions), "beside")]))
        killer, seconds = Killer(args.killed, server, address, key, str(found["hanging"])), []
        killer.start()
        while killer.is_alive() or len(seconds) < args.sessions:
            seconds.append(session(address, key, found["answering"]))
            note(f"{len(seconds)} sessions, {killer.done} killed")
        rows.append(row(f"{beside}, {args.killed} killed", seconds, killer.free_s))
        crowd.ended = True
        crowd.join()
    finish(args.output, COLUMNS, rows, machine=facts, dropped=crowd.dropped)


if __name__ == "__main__":
    main()
