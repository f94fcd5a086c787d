"""The loop of the device's server, which never waits for a client.

First words are gathered beside the sessions, up to a number of connections and a time limit for each as a whole. A session's
connection is watched here too, since its process may be deep in a kernel: when the client is gone, the session ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from functools import partial

from lampq_tvm.device import folders
from lampq_tvm.device.handshake import CODE, MISMATCH, NO_ROOM, Gate, Listening, frame, limit_s
from lampq_tvm.device.session import Session, hang_up, say, start
from lampq_tvm.errors import OutputError

HANDSHAKE_S = 10
BACKLOG = 1024  # a burst that comes while the machine is busy: what does not fit waits for repetitions of up to half a minute
LISTENING = 128  # connections whose first words are still coming; beyond, the oldest of the busiest address goes
QUEUE = 64  # clients that hold the key and wait for their turn
PAUSE_S = 0.2
LOOK_S = 60
GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR
NO_ROOM_HERE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# A peer that lost its power says nothing: probes after 15 s of silence, dead after 30.
ALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}


class Server:
    """The loop of a listening server.

    Args:
        sessions: how many run at a time.
        with_stdin: end when stdin does.
    """

    def __init__(self, listener: socket.socket, gate: Gate, sessions: int, with_stdin: bool) -> None:
        self.listener, self.gate, self.limit, self.with_stdin = listener, gate, sessions, with_stdin
        self.listening: list[Listening] = []  # the oldest first
        self.queue: deque[tuple[socket.socket, float]] = deque()  # with the seconds that each session may last
        self.sessions: list[Session] = []
        self.accepts_at = self.says_at = 0.0
        self.ended = False
        self.woken, self.wake = os.pipe()
        for end in (self.woken, self.wake):
            os.set_blocking(end, False)
        listener.setblocking(False)
        signal.set_wakeup_fd(self.wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            folders.place()  # deletes what killed servers left
        except (OSError, OutputError) as e:
            say(f"sessions have no folder yet ({e})")

    def run(self) -> None:
        """Serve until stdin ends."""
        while not self.ended:
            self._wait()
            for running in [running for running in self.sessions if running.ended()]:
                self.sessions.remove(running)
                running.clean()
            now = time.monotonic()
            for late in [late for late in self.listening if late.ends_at <= now]:
                self._drop(late)
            for running in self.sessions:
                if running.ends_at <= now:
                    running.kill()
            while self.queue and len(self.sessions) < self.limit:
                self._start(*self.queue.popleft())

    def close(self) -> None:
        """End every session and delete its folder."""
        self.listener.close()
        for running in self.sessions:
            running.clean()

    def _wait(self) -> None:
        """Until something happens or is due; and do it."""
        poll, acts = select.poll(), dict[int, Callable[[], None]]()

        def watch(descriptor: int, events: int, act: Callable[[], None]) -> None:
            poll.register(descriptor, events)
            acts[descriptor] = act

        now = time.monotonic()
        watch(self.woken, select.POLLIN, self._awake)
        if self.with_stdin:
            watch(0, select.POLLIN, self._hear_stdin)
        for client in self.listening:
            watch(client.connection.fileno(), select.POLLIN, partial(self._hear, client))
        for waiting in self.queue:
            watch(waiting[0].fileno(), GONE, partial(self._give_up, waiting))
        for running in self.sessions:
            if not running.left:
                watch(running.connection.fileno(), GONE, running.client_left)
        if now >= self.accepts_at:
            watch(self.listener.fileno(), select.POLLIN, self._accept)  # last: what it opens takes the numbers of what closed
        for descriptor, _ in poll.poll(1000 * self._idle_s(now) + 1):
            acts[descriptor]()

    def _idle_s(self, now: float) -> float:
        """Seconds until the next deadline: 0 where one passed since `run` looked, which nothing else would wake it for."""
        due = [client.ends_at for client in self.listening] + [running.ends_at for running in self.sessions]
        if now < self.accepts_at:
            due.append(self.accepts_at)
        return max(0.0, min([*due, now + LOOK_S]) - now)

    def _awake(self) -> None:
        os.read(self.woken, 4096)

    def _hear_stdin(self) -> None:
        try:
            self.ended = not os.read(0, 4096)
        except OSError:
            self.ended = True

    def _accept(self) -> None:
        for _ in range(LISTENING):
            try:
                connection, address = self.listener.accept()
            except BlockingIOError:
                return
            except OSError as e:
                if e.errno not in NO_ROOM_HERE:  # that client left already
                    continue
                if self.listening:
                    self._drop(self.listening[0])
                self.accepts_at = time.monotonic() + PAUSE_S
                return
            connection.setblocking(False)
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for name, value in ALIVE.items():
                    connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            self.listening.append(Listening(connection, str(address[0]), time.monotonic() + HANDSHAKE_S))
            if len(self.listening) > LISTENING:
                busiest = Counter(client.address for client in self.listening).most_common(1)[0][0]
                self._drop(next(client for client in self.listening if client.address == busiest))

    def _hear(self, client: Listening) -> None:
        try:
            words = client.read()
            if words is None:
                return
            asked = limit_s(words)
        except (OSError, ValueError):
            self._drop(client)
            return
        word = words[0] if words else ""
        if word.startswith("lampq:"):
            self._answer(client.connection, frame(self.gate.greet(word.removeprefix("lampq:"))))
        elif not self.gate.admits(word):
            self._refused(client.address)
            self._answer(client.connection, CODE.pack(MISMATCH))
        elif len(self.queue) >= QUEUE:
            self._answer(client.connection, CODE.pack(NO_ROOM))
        else:
            self.listening.remove(client)
            self.queue.append((client.connection, asked))
            return
        self._drop(client)

    def _refused(self, address: str) -> None:
        now = time.monotonic()
        if now >= self.says_at:  # someone who tries many must not fill a log
            self.says_at = now + PAUSE_S
            say(f"a client of {address} has no key or another one")

    def _answer(self, connection: socket.socket, data: bytes) -> None:
        with contextlib.suppress(OSError):  # a first answer fits into the empty buffer, or its client is gone
            connection.send(data)

    def _drop(self, client: Listening) -> None:
        self.listening.remove(client)
        hang_up(client.connection)

    def _give_up(self, waiting: tuple[socket.socket, float]) -> None:
        self.queue.remove(waiting)
        hang_up(waiting[0])

    def _start(self, connection: socket.socket, asked_s: float) -> None:
        others = [self.listener.fileno(), self.woken, self.wake]
        others += [client.connection.fileno() for client in self.listening]
        others += [waiting[0].fileno() for waiting in self.queue]
        others += [running.connection.fileno() for running in self.sessions]
        folder = None
        try:
            folder = folders.make()
            self.sessions.append(start(connection, folder, asked_s, others))
        except (OSError, MemoryError, OutputError) as e:
            say(f"a session cannot start ({e})")
            self._answer(connection, CODE.pack(NO_ROOM))
            hang_up(connection)
            if folder is not None:
                folders.delete(folder)
