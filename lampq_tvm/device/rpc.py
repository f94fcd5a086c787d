"""A device reached over the network: files and arrays go there, functions run there, results come back."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lampq_tvm.device.classes import CYCLES, FRACTION
from lampq_tvm.device.handshake import ask
from lampq_tvm.device.kind import SESSION_S, Code, needs
from lampq_tvm.errors import DeviceError, LampqError, UnsupportedError, UsageError

CONNECT_S = 10
HANDSHAKE_S = 60
CALL_S = 600
# What TVM says when the other side is gone, the first two by the number of a reply that it did not expect.
BROKEN = ("kShutdown", "RPCCode::kReturn", "closed", "reset by peer", "Broken pipe")
T = TypeVar("T")


class Session:
    """One connection. A device serves one session at a time, in a folder that it deletes afterwards; an emulated one several.

    Attributes:
        device: what `--device` said.
        info: what the device says about itself (`session.device_info`); empty for a server that is not this program's.
        remote: TVM's own session, for what is not wrapped here, such as `time_evaluator`.
    """

    def __init__(self, device: str, remote: Any) -> None:
        self.device, self.remote = device, remote
        self.info: dict[str, Any] = {}
        with contextlib.suppress(DeviceError):  # a plain TVM server has no such function
            self.info = self._ask()

    def _ask(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.call(lambda: self.remote.get_function("lampq.device.info")()))
        return found

    def clocks(self) -> dict[str, Any] | None:
        """The clocks that its cores run at now; None where they cannot be read."""
        return self._ask().get("clocks") if self.info else None

    @property
    def emulated(self) -> bool:
        """Whether its times mean nothing."""
        return bool(self.info.get("emulated"))

    def check(self, arch: str, features: Sequence[str]) -> None:
        """Refuse code for another architecture, or that needs features this device lacks.

        Raises:
            UnsupportedError: it cannot run there.
        """
        if not self.info:
            return
        if self.info["arch"] != arch:
            raise UnsupportedError(f"it is {self.info['arch']}, the code is for {arch}", where=self.device)
        missing = sorted(set(features) - set(self.info["features"]))
        if missing:
            raise UnsupportedError(f"its CPU lacks {' '.join(missing)}", where=self.device, hint="compile for its own name")

    def check_times(self) -> None:
        """Refuse to time a board that is played.

        Raises:
            DeviceError: it is one.
        """
        if self.emulated:
            what = "the times of an emulated board mean nothing"
            raise DeviceError(what, where=self.device, hint="use --device emulated, which counts")

    def upload(self, path: Path | str, target: str | None = None) -> str:
        """Send a file; returns its name there, `target` or its own.

        Raises:
            UsageError: the file cannot be read.
        """
        try:
            return self.send(Path(path).read_bytes(), target or Path(path).name)
        except OSError as e:
            raise UsageError(f"cannot be read: {e.strerror}", where=str(path)) from e

    def send(self, data: bytes, name: str) -> str:
        """Send bytes, which become the file `name` there; returns the name."""
        self.call(lambda: self.remote.upload(bytearray(data), name))
        return name

    def load_module(self, name: str) -> Any:
        """Load an uploaded library (`.so`): a module whose functions run there."""
        return self.call(lambda: self.remote.load_module(name))

    def load(self, path: Path | str) -> Any:
        """Upload a library and load it."""
        return self.load_module(self.upload(path))

    def load_library(self, library: bytes) -> Any:
        """Load a library whose bytes are at hand."""
        return self.load_module(self.send(library, "lib.so"))

    def get_function(self, name: str) -> Any:
        """A global function of the device's runtime."""
        return self.call(lambda: self.remote.get_function(name))

    def cpu(self) -> Any:
        """The device's cores, for tensors and virtual machines."""
        return self.remote.cpu(0)

    def fetch(self, name: str) -> bytes:
        """Bring a file back."""
        return bytes(self.call(lambda: self.remote.download(name)))

    def array(self, values: np.ndarray) -> Any:
        """Copy an array there: a tensor for functions that run there."""
        import tvm

        return self.call(lambda: tvm.runtime.tensor(np.ascontiguousarray(values), self.cpu()))

    def numpy(self, tensor: Any) -> np.ndarray:
        """Copy a tensor back."""
        return np.asarray(self.call(lambda: tensor.numpy()))

    def instructions(self) -> int:
        """The device's running instruction count; -1 where nothing counts."""
        return int(self.call(lambda: self.remote.get_function("lampq.device.instructions")()))

    def count(self, module: Any, function: str, *args: Any) -> int:
        """Instructions of one call of a loaded module's function, the same in every run.

        Args:
            args: tensors made by `array`.

        Raises:
            DeviceError: the device does not count: it is real, or was started without its counter.
        """
        return self.count_cycles(module, function, *args)[0]

    def count_cycles(self, module: Any, function: str, *args: Any) -> tuple[int, float | None]:
        """Like `count`, with estimated cycles (cost.py) beside the instructions; None for a core without figures."""
        if self.instructions() < 0:
            raise DeviceError("it does not count instructions", where=self.device, hint="count on an emulated board")
        row = json.loads(self.call(lambda: self.remote.get_function("lampq.device.count")(module, function, *args)))
        return sum(row[:CYCLES]), row[CYCLES] / FRACTION or None

    def call(self, run: Callable[[], T], timeout_s: float = CALL_S) -> T:
        """Run something that talks to the device, with a time limit and with its errors typed.

        Raises:
            DeviceError: no answer in time, the connection broke, or the device's side failed.
        """
        return guarded(run, timeout_s, self.device)

    def close(self) -> None:
        """End the session, also where modules and tensors of it are still held; the device deletes its folder."""
        remote, self.remote = self.remote, None
        if remote is not None:
            with contextlib.suppress(DeviceError):  # already broken: closed all the same
                self.call(lambda: remote.get_function("CloseRPCConnection")(), CONNECT_S)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def guarded(run: Callable[[], T], timeout_s: float, device: str) -> T:
    """The result of `run`, which may hang: it works in a thread that is left behind when it does.

    Raises:
        DeviceError: it did not end in time, or failed.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            done.append(run())
        except BaseException as e:
            failed.append(e)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise DeviceError(f"no answer in {timeout_s:g} s", where=device, hint="see whether another session holds it")
    if failed:
        if isinstance(failed[0], LampqError):
            raise failed[0]
        raise _typed(failed[0], device) from failed[0]
    return done[0]


def _typed(error: BaseException, device: str) -> DeviceError:
    """One line from TVM's long ones: the last that names an error."""
    text = str(error)
    if any(sign in text for sign in BROKEN):
        return DeviceError("the connection broke: the session ran out of time, or its program crashed", where=device)
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(" ")]
    named = [line for line in lines if "Error" in line and "RPC call" not in line]
    reason = (named or lines or [type(error).__name__])[-1]
    return DeviceError(f"failed there ({reason[:300]})", where=device)


def open_session(
    device: str,
    host: str,
    port: int,
    code: Code | None = None,
    *,
    key: str | None = None,
    session_timeout_s: float = SESSION_S,
) -> Session:
    """A session with the server at an address.

    Args:
        device: how messages call it.
        code: what is going to run there, which the device is checked against.
        key: of the server.
        session_timeout_s: the device ends the session after this time, even when its program hangs.

    Raises:
        DeviceError: it cannot be reached or does not answer.
        UnsupportedError: it cannot run this code.
    """
    session = Session(device, _open(device, host, port, key, session_timeout_s))
    if code is not None:
        try:
            session.check(*needs(code))
        except UnsupportedError:
            session.close()
            raise
    return session


def _open(name: str, host: str, port: int, key: str | None, session_timeout_s: float) -> Any:
    try:  # quick and typed, before TVM, which retries and words it differently
        connection = socket.create_connection((host, port), CONNECT_S)
    except OSError as e:
        reason = e.strerror or str(e) or "no answer"
        raise DeviceError(f"cannot be reached ({reason})", where=name, hint="is lampq device serve running there?") from e
    with connection:
        word = "" if key is None else ask(connection, key, HANDSHAKE_S, name)
    import tvm.rpc

    try:
        return guarded(lambda: tvm.rpc.connect(host, port, word, session_timeout=session_timeout_s), HANDSHAKE_S, name)
    except DeviceError as e:
        if e.__cause__ is None:
            raise
        if "server already have" in str(e.__cause__):
            hint = "see what its server printed: a full disk, no memory, or too many clients"
            raise DeviceError("it cannot start a session", where=name, hint=hint) from e
        hint = "give its key file in --key-file or $LAMPQ_DEVICE_KEY_FILE, or the key in $LAMPQ_DEVICE_KEY"
        what = "it wants a key" if key is None else "is it a lampq device server?"
        raise DeviceError(f"it refused the connection: {what}", where=name, hint=hint if key is None else None) from e
