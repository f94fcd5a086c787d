"""The first words between client and server: each proves that it holds the key, which itself is not sent.

A client asks on a connection of its own, `lampq:NONCE`, and gets `CHALLENGE PROOF`: the server's proof over both. Then TVM's
client connects with the word `client:CHALLENGE:ANSWER`. TVM's client by itself says `client:KEY`, in clear, and is served too.
All are TVM's frames: magic and size as little-endian int32, then text.
"""

from __future__ import annotations

import hmac
import math
import secrets
import select
import socket
import struct
import time
from dataclasses import dataclass, field

from lampq_tvm.errors import DeviceError

MAGIC = 0xFF271  # TVM's, also the code of success
MISMATCH = MAGIC + 2
NO_ROOM = MAGIC + 1  # "duplicate key" to a proxy of TVM's, which this is not
HEAD = struct.Struct("<ii")
CODE = struct.Struct("<i")
LONGEST = 1024
VALID_S = 60
MONTH_S = 30 * 24 * 3600.0


def frame(text: str) -> bytes:
    """A text as it is sent."""
    return HEAD.pack(MAGIC, len(text)) + text.encode("ascii")


def prove(key: str, who: str, *words: str) -> str:
    """What only a holder of the key can say about the words."""
    return hmac.new(key.encode("ascii"), "\n".join((who, *words)).encode("ascii", "replace"), "sha256").hexdigest()


def same(one: str, other: str) -> bool:
    """Whether two texts are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape"))


@dataclass(eq=False)
class Listening:
    """A connection whose first words are still coming; never waits.

    Attributes:
        address: of the other side, without its port.
        ends_at: when it is dropped, however much has come (time.monotonic).
    """

    connection: socket.socket
    address: str
    ends_at: float
    received: bytearray = field(default_factory=bytearray)

    def read(self) -> list[str] | None:
        """The words once they are whole; None while more has to come.

        Raises:
            OSError: it was closed or broke.
            ValueError: no client of this protocol.
        """
        while True:
            size = self._size()
            if len(self.received) == size:
                return self.received[HEAD.size :].decode("ascii").split()
            try:
                piece = self.connection.recv(size - len(self.received))
            except BlockingIOError:
                return None
            if not piece:
                raise ConnectionResetError("closed")
            self.received += piece

    def _size(self) -> int:
        """Bytes of head and text as far as they are known."""
        start = CODE.pack(MAGIC)
        if self.received[: CODE.size] != start[: len(self.received)]:
            raise ValueError("not an RPC client")
        if len(self.received) < HEAD.size:
            return HEAD.size
        size = int(HEAD.unpack_from(self.received)[1])
        if not 0 < size <= LONGEST:
            raise ValueError("not an RPC client")
        return HEAD.size + size


class Gate:
    """A server's judgement of who knows its key.

    Challenges are not kept: each carries its end and a seal of this process. Only used ones are, until they end, so that
    none serves twice and nobody without the key can make this grow.
    """

    def __init__(self, key: str) -> None:
        self._key, self._seal = key, secrets.token_hex(32)
        self._used: dict[str, float] = {}

    def greet(self, nonce: str) -> str:
        """The answer to `lampq:NONCE`."""
        body = f"{int(time.monotonic()) + VALID_S}.{secrets.token_hex(16)}"
        challenge = f"{body}.{prove(self._seal, 'seal', body)}"
        return f"{challenge} {prove(self._key, 'server', nonce, challenge)}"

    def admits(self, word: str) -> bool:
        """Whether `client:...` proves that its sender holds the key."""
        if same(word, f"client:{self._key}"):
            return True
        challenge, _, answer = word.removeprefix("client:").partition(":")
        body, _, seal = challenge.rpartition(".")
        if not (same(seal, prove(self._seal, "seal", body)) and same(answer, prove(self._key, "client", challenge))):
            return False
        now, end = time.monotonic(), float(body.partition(".")[0])
        self._used = {used: until for used, until in self._used.items() if until > now}
        fresh = now < end and challenge not in self._used
        self._used[challenge] = end
        return fresh


def limit_s(words: list[str]) -> float:
    """Seconds that a client asks a session to last at most; infinite where it does not say, or asks for a month or more.

    Raises:
        ValueError: not a number.
    """
    asked = [float(word.removeprefix("-timeout=")) for word in words if word.startswith("-timeout=")]
    if any(math.isnan(seconds) or seconds < 0 for seconds in asked):
        raise ValueError("not a time")
    return next((seconds for seconds in asked if 0 < seconds < MONTH_S), math.inf)


def ask(connection: socket.socket, key: str, wait_s: float, where: str) -> str:
    """The client's side: what TVM's client has to say in place of the key, after the server proved that it holds it.

    Raises:
        DeviceError: it holds another key, or is no such server.
    """
    nonce, end = secrets.token_hex(16), time.monotonic() + wait_s
    text = ""
    try:
        connection.sendall(frame(f"lampq:{nonce}"))
        connection.setblocking(False)
        listening, waiting = Listening(connection, where, end), select.poll()
        waiting.register(connection, select.POLLIN)
        while (words := listening.read()) is None and waiting.poll(1000 * max(0.0, end - time.monotonic())):
            pass
        text = " ".join(words or [])
    except (OSError, ValueError):
        pass
    challenge, _, proof = text.partition(" ")
    if not same(proof, prove(key, "server", nonce, challenge)):
        hint = "check --key-file or $LAMPQ_DEVICE_KEY against the key file that the server names"
        what = "it refused the connection: it holds another key, or is no lampq device server"
        raise DeviceError(what, where=where, hint=hint)
    return f"{challenge}:{prove(key, 'client', challenge)}"
