"""The device's server: TVM's RPC protocol, each session in a process and a folder of its own.

TVM's own server starts a second interpreter, ends when a session crashes, and listens on every address. Whoever holds the key
can run any code, so this one listens on loopback and is reached through ssh, unless its user says that the network is trusted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

from lampq_tvm.device.handshake import Gate
from lampq_tvm.device.key import server_key
from lampq_tvm.device.server import BACKLOG, Server
from lampq_tvm.device.session import preload, say
from lampq_tvm.errors import DeviceError, LampqError, UsageError
from lampq_tvm.lean import leave_torch_out


def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    key_file: Path | None = None,
    trust_network: bool = False,
    sessions: int = 1,
    with_stdin: bool = False,
) -> None:
    """Serve until interrupted, or until stdin closes (`with_stdin`): then whoever started it is gone.

    Prints `ready PORT` on stdout once connections are accepted, and on stderr where the key lies.

    Args:
        key_file: of the key; made where it is missing. `key.server_key` says what is taken where it is not named.
        sessions: how many are served at a time; more than one would spoil each other's times.

    Raises:
        UsageError: an address other than loopback without `trust_network`, or a key that is no secret.
        OutputError: the key's file cannot be made.
        DeviceError: the address cannot be used.
    """
    if host not in ("127.0.0.1", "localhost", "::1") and not trust_network:
        hint = "listen on 127.0.0.1 and connect through ssh -L, or say that this network is trusted"
        raise UsageError("whoever reaches this server with its key can run any code here", where=host, hint=hint)
    _hold_standard_files()
    key, path = server_key(key_file)
    preload()
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as e:
        raise DeviceError(f"cannot listen ({e.strerror})", where=f"{host}:{port}", hint="choose another port") from e
    if path is not None:
        say(f"clients need the key in {path} (scp -p copies it; --key-file there)")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    server = Server(listener, Gate(key), sessions, with_stdin)
    with contextlib.suppress(OSError):
        os.write(1, f"ready {listener.getsockname()[1]}\n".encode())
    try:
        server.run()
    except KeyboardInterrupt:
        return
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        server.close()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _hold_standard_files() -> None:
    """Where a standard stream was closed, nothing else may take its number: a session would print to another's connection."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # the lowest free one
        pass
    os.close(number)


def main() -> int:
    """`python -m lampq_tvm.device.serve`; the key comes from the environment or a file: arguments are seen by everyone."""
    parser = argparse.ArgumentParser(prog="lampq-device-serve")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key-file", type=Path)
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--with-stdin", action="store_true")
    args = parser.parse_args()
    try:
        serve(args.host, args.port, key_file=args.key_file, sessions=args.sessions, with_stdin=args.with_stdin)
    except LampqError as e:
        print(f"error: {e}", file=sys.stderr)
        return e.exit_code
    return 0


if __name__ == "__main__":
    leave_torch_out()
    sys.exit(main())
