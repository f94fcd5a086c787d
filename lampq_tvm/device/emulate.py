"""An emulated Arm board: Python programs and the device server run on it as on the real one, only slower.

Wall-clock time means nothing there; instruction counts do.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
import select
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from lampq_tvm.device.counter import VARIABLE
from lampq_tvm.device.handshake import ask
from lampq_tvm.device.key import BYTES, KEY, read_key, write_key
from lampq_tvm.device.provision import Install, Say, once, provision, say_on_stderr
from lampq_tvm.errors import DeviceError, LampqError, UnsupportedError
from lampq_tvm.resources import PACKAGE
from lampq_tvm.scratch import scratch_dir
from lampq_tvm.store import cache_dir, digest, write_atomic
from lampq_tvm.targets import Target, boards
from lampq_tvm.targets.board import Board, find_board

DEFAULT_BOARD = "raspberry-pi-5"
START_S = 300
STOP_S = 5
SESSIONS = 8

WRAPPER = """#!/bin/sh
# Python on the emulated board. TVM and multiprocessing start their workers through sys.executable: this file.
export PYTHONPATH={path} PYTHONNOUSERSITE=1 PYTHONHASHSEED=0 OPENBLAS_NUM_THREADS=1
export TVM_USE_RUNTIME_LIB=1 LAMPQ_EMULATED={board} LAMPQ_EMULATED_PYTHON={wrapper}
export PYTHONPYCACHEPREFIX={cache}
unset PYTHONDONTWRITEBYTECODE LD_PRELOAD LD_LIBRARY_PATH PYTHONHOME PYTHONSTARTUP
if [ -n "$LAMPQ_COUNTER" ]; then set -- -plugin "$LAMPQ_PLUGIN,out=$LAMPQ_COUNTER" {rest} "$@"; else set -- {rest} "$@"; fi
exec {emulator} -cpu {cpu} "$@"
"""
SITECUSTOMIZE = """import os
import sys

sys.executable = os.environ.get("LAMPQ_EMULATED_PYTHON", sys.executable)
"""


class EmulatedBoard:
    """One board played by the emulator, with its CPU model and its /proc/cpuinfo.

    Use as a context manager, or call `start` and `stop`; the server also ends when this process does, however it does.

    Attributes:
        board: the board that is played.
        port, key: where the server listens on 127.0.0.1 and the secret it wants; None and "" before `start`.
    """

    def __init__(self, board: str = DEFAULT_BOARD, *, say: Say = say_on_stderr) -> None:
        self.board = find_board(board)
        self.install = provision(say)
        self.python = _prepare(self.install, self.board)
        self.port: int | None = None
        self.key = ""
        self._server: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def run_python(
        self,
        args: Sequence[str],
        *,
        timeout_s: float = 600,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the board's Python: `["-m", "lampq_tvm", "run", ...]`, `["-c", ...]`.

        Raises:
            DeviceError: it did not end in `timeout_s` seconds. A failing program is not an error here: see `returncode`.
        """
        command = [str(self.python), *args]
        full = {**os.environ, **(env or {})}
        with subprocess.Popen(
            command,
            env=full,
            cwd=cwd,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(None if stdin is None else stdin.encode(), timeout=timeout_s)
            except BaseException as e:
                _kill_group(process)
                if isinstance(e, subprocess.TimeoutExpired):
                    raise DeviceError(f"no answer in {timeout_s:g} s", where=self.name, hint="raise the time limit") from e
                raise
        return subprocess.CompletedProcess(
            command, process.returncode, out.decode(errors="replace"), err.decode(errors="replace")
        )

    @property
    def name(self) -> str:
        """How messages and figures call it."""
        return f"emulated {self.board.name}"

    @property
    def address(self) -> str:
        """The `--device` that reaches the running server, for who has its key."""
        return f"rpc://127.0.0.1:{self.port}"

    def start(self, port: int = 0, *, env: dict[str, str] | None = None) -> None:
        """Start the device server on 127.0.0.1 and wait until it accepts connections.

        Args:
            port: 0 takes a free one.
            env: more variables for the board.

        Raises:
            DeviceError: it ended or did not answer in time.
        """
        if self._server is not None:
            return
        self.key = secrets.token_hex(BYTES)
        self._log = tempfile.TemporaryFile(dir=scratch_dir())  # noqa: SIM115  (closed by stop)
        # Counts of one session must not hold another's work; times mean nothing here anyway.
        sessions = 1 if VARIABLE in (env or {}) else SESSIONS
        args = ["--port", str(port), "--sessions", str(sessions), "--with-stdin"]
        self._server = subprocess.Popen(
            [str(self.python), "-m", "lampq_tvm.device.serve", *args],
            env={**os.environ, **(env or {}), KEY: self.key},
            stdin=subprocess.PIPE,  # its end tells the server that this process is gone, even when that was killed
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        atexit.register(self.stop)
        self.port = self._wait_ready(self._server)

    def _wait_ready(self, server: subprocess.Popen[bytes]) -> int:
        assert server.stdout is not None
        end = time.monotonic() + START_S
        text = b""
        while not text.endswith(b"\n"):
            ready, _, _ = select.select([server.stdout], [], [], max(0.0, end - time.monotonic()))
            piece = os.read(server.stdout.fileno(), 4096) if ready else b""
            if not piece:
                reason = self._last_line() if ready else f"no answer in {START_S} s"
                self.stop()
                raise DeviceError(f"the server did not start ({reason})", where=self.name, hint="see lampq doctor")
            text += piece
        return int(text.split()[-1])

    def _last_line(self) -> str:
        if self._log is None:
            return "no reason given"
        self._log.seek(0)
        return (self._log.read().decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]

    def alive(self) -> bool:
        """Whether the server runs."""
        return self._server is not None and self._server.poll() is None

    def stop(self) -> None:
        """End the server and everything it started; harmless when it is not running."""
        server, self._server = self._server, None
        atexit.unregister(self.stop)
        if server is not None:
            assert server.stdin is not None and server.stdout is not None
            server.stdin.close()
            try:
                server.wait(STOP_S)  # it ends its session and deletes the session's folder
            except subprocess.TimeoutExpired:
                _kill_group(server)
            server.stdout.close()
        if self._log is not None:
            self._log.close()
            self._log = None
        self.port = None

    def wait(self) -> int:
        """Block until the server ends by itself."""
        return self._server.wait() if self._server is not None else 0

    def __enter__(self) -> EmulatedBoard:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _prepare(install: Install, board: Board) -> Path:
    """Path of the board's Python: a script, made once for each board, place of this package and provisioned folder."""
    key = digest(WRAPPER, SITECUSTOMIZE, board.model_dump(), str(PACKAGE))[:12]
    folder = install.folder / f"play-{board.name}-{key}"
    with once(folder) as building:
        if building is not None:
            _lay_out(building, folder, install, board)
    return folder / "python"


def _lay_out(building: Path, folder: Path, install: Install, board: Board) -> None:
    for entry in install.sysroot.iterdir():
        (building / "root").mkdir(exist_ok=True)
        (building / "root" / entry.name).symlink_to(entry)
    (building / "root/proc").mkdir()
    (building / "root/proc/cpuinfo").write_text(cpuinfo(board), "utf-8")
    (building / "start").mkdir()
    (building / "start/sitecustomize.py").write_text(SITECUSTOMIZE, "utf-8")
    (building / "start/lampq_tvm").symlink_to(PACKAGE)  # this package alone: the host's other packages are not the board's
    cpu = install.cpu(board.arm.qemu)
    python = f"{folder}/root/usr/bin/python{install.python}"
    text = WRAPPER.format(
        path=shlex.quote(f"{folder}/start:{install.site}"),
        board=shlex.quote(board.name),
        cache=shlex.quote(f"{install.folder}/pycache"),
        wrapper=shlex.quote(f"{folder}/python"),
        emulator=shlex.join(install.emulator),
        cpu=shlex.quote(cpu),
        rest=shlex.join(["-L", f"{folder}/root", python]),
    )
    (building / "python").write_text(text, "utf-8")
    (building / "python").chmod(0o755)


def cpuinfo(board: Board) -> str:
    """The board's /proc/cpuinfo, which programs read to choose their kernels."""
    rows = (
        "BogoMIPS\t: 108.00",
        f"Features\t: {' '.join(board.arm.features)}",
        f"CPU implementer\t: {board.arm.implementer}",
        "CPU architecture: 8",
        "CPU variant\t: 0x1",
        f"CPU part\t: {board.arm.part}",
        "CPU revision\t: 0",
    )
    return "".join(f"processor\t: {i}\n" + "\n".join(rows) + "\n\n" for i in range(board.arm.cores))


def played_board(code: Target | Mapping[str, Any] | None) -> str:
    """The board to play for a target or an artifact.

    Raises:
        UnsupportedError: the code is for x86.
    """
    if code is None:
        return DEFAULT_BOARD
    name, arch = (code.name, code.kind) if isinstance(code, Target) else (code["target"], code["arch"])
    if arch != "aarch64":
        hint = "compile for one of lampq targets, or use --device local"
        raise UnsupportedError(f"the emulated boards are aarch64, the code is for {arch}", hint=hint)
    board = str(name).partition(":")[0]
    return board if board in boards() else DEFAULT_BOARD


_running: dict[str, EmulatedBoard] = {}


def running_board(board: str, *, say: Say = say_on_stderr) -> tuple[int, str]:
    """Port and key of a server that plays `board`: one started by `lampq device emulate`, or this process's own.

    Raises:
        DeviceError: it cannot be started.
    """
    path = _note(board)
    if path.exists():
        try:
            note = json.loads(path.read_text("utf-8"))
            port, key = int(note["port"]), read_key(path.with_suffix(".key"))
            with socket.create_connection(("127.0.0.1", port), STOP_S) as connection:
                ask(connection, key, START_S, f"emulated {board}")
            return port, key
        except (OSError, ValueError, KeyError, TypeError, LampqError):
            path.unlink(missing_ok=True)  # of a server that was killed
    own = _running.get(board)
    if own is None or not own.alive():
        own = _running[board] = EmulatedBoard(board, say=say)
        own.start()
    assert own.port is not None
    return own.port, own.key


def _note(board: str) -> Path:
    return cache_dir().absolute() / f"emulated-{board}.json"


def emulate(board: str = DEFAULT_BOARD, port: int = 0, *, say: Say = say_on_stderr) -> None:
    """Serve in the foreground until interrupted; `--device emulated` of other commands then uses this server.

    Raises:
        DeviceError: it cannot be started, or it ended by itself.
    """
    played = EmulatedBoard(board, say=say)
    note = _note(board)
    key_file = note.with_suffix(".key")
    played.start(port)
    try:
        write_key(key_file, played.key)
        write_atomic(note, json.dumps({"port": played.port}).encode())
        other = f"--device {played.address} --key-file {key_file}"
        say(f"{played.name} listens; connect with --device emulated, or {other}; Ctrl-C ends it")
        played.wait()
        raise DeviceError(f"the server ended ({played._last_line()})", where=played.name)
    except KeyboardInterrupt:
        say("stopped")
    finally:
        note.unlink(missing_ok=True)
        key_file.unlink(missing_ok=True)
        played.stop()
