"""`spawn://name`: a device server that this process starts and that ends with it. All that a new kind of device takes."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys

from lampq_tvm.device.key import KEY
from lampq_tvm.device.kind import SESSION_S, Code, Device
from lampq_tvm.device.kinds import KINDS
from lampq_tvm.device.rpc import Session, open_session
from lampq_tvm.errors import UsageError

RUNNING: dict[str, tuple[subprocess.Popen[str], int, str]] = {}  # process, port and key of each server


@KINDS.register("spawn")
class Spawned(Device):
    """A server of this process's own."""

    form = "spawn://name"

    @classmethod
    def about(cls) -> str:
        """The kind in a line."""
        return "a device server that starts when it is asked for"

    @classmethod
    def parse(cls, text: str) -> Spawned:
        """Any name will do."""
        if not text.removeprefix("spawn://").isalnum():
            raise UsageError("not a device", where=text, hint=f"use {cls.form}")
        return cls(text)

    def open(self, code: Code | None = None, *, key: str | None = None, session_timeout_s: float = SESSION_S) -> Session:
        """A session with the server, which starts with the first."""
        if self.name not in RUNNING:
            secret = secrets.token_hex(16)
            command = [sys.executable, "-m", "lampq_tvm.device.serve", "--with-stdin"]
            pipe = subprocess.PIPE
            server = subprocess.Popen(command, env={**os.environ, KEY: secret}, stdin=pipe, stdout=pipe, text=True)
            assert server.stdout is not None
            RUNNING[self.name] = server, int(server.stdout.readline().split()[1]), secret
        _, port, secret = RUNNING[self.name]
        return open_session(self.name, "127.0.0.1", port, code, key=secret, session_timeout_s=session_timeout_s)
