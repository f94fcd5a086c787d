"""One loaded model for many threads and for forked children."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Turn:
    """A lock that one thread at a time holds while it uses a model, in about the order in which they came.

    The process forks between turns only, so that a child finds models as a finished call leaves them.
    """

    def __init__(self) -> None:
        self.renew()
        with _forking:  # which goes through them
            _turns.add(self)

    def renew(self) -> None:
        """Held by nobody: of its parent's threads a forked child has but the one that forked."""
        self._door, self._lock = threading.Lock(), threading.RLock()
        self._holder, self._depth = 0, 0

    def __enter__(self) -> Turn:
        again = self._holder == threading.get_ident()  # a signal's handler that forks
        with contextlib.nullcontext() if again else self._door:  # else whoever has just ended would be first again
            self._lock.acquire()
        self._holder, self._depth = threading.get_ident(), self._depth + 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._holder = 0
        self._lock.release()


class Lane:
    """A thread in which everything of a model runs, whoever calls it.

    TVM keeps a pool of workers, and how many of them it uses, for each thread that ever called it, until the process ends. So
    lanes are used again; a forked child, which has none of its parent's threads, starts its own.
    """

    def __init__(self) -> None:
        self._process, self._thread = 0, ThreadPoolExecutor(1)
        self._prepare: Callable[[], object] = int

    def prepare(self, prepare: Callable[[], object]) -> None:
        """Run something first, also in a forked child."""
        self._prepare = prepare
        if self._process == os.getpid():
            self.run(prepare)

    def run(self, work: Callable[[], T]) -> T:
        """What `work` returns, or raises."""
        if self._process != os.getpid():
            self._process, self._thread = os.getpid(), ThreadPoolExecutor(1, "lampq", self._prepare)
        return self._thread.submit(work).result()

    def give_back(self) -> None:
        """For the next model."""
        _idle.append(self)


def take_lane() -> Lane:
    """A lane that no model uses."""
    try:
        return _idle.pop()
    except IndexError:
        return Lane()


_idle: list[Lane] = []
_turns: weakref.WeakSet[Turn] = weakref.WeakSet()
_forking = threading.RLock()
_held: list[Turn] = []


def _before_fork() -> None:
    _forking.acquire()
    for turn in sorted(_turns, key=id):
        turn.__enter__()
        _held.append(turn)


def _after_in_parent() -> None:
    while _held:
        _held.pop().__exit__()
    _forking.release()


def _after_in_child() -> None:
    global _forking
    _held.clear()
    _forking = threading.RLock()
    for turn in _turns:
        turn.renew()


os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
