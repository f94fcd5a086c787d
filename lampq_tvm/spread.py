"""Work spread over items: several at once, each computed by one thread, with results in the items' order.

Threads inside one small operation wait for each other at its end, beside other busy processes for a turn of the scheduler
each time. A thread that has an item to itself waits for nobody, and what it computes does not depend on how many work.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import psutil

from lampq_tvm.heap import give_back, large_arrays_apart

T = TypeVar("T")
R = TypeVar("R")

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of CPU time a period, or "max", and the period
MEMORY_SHARE = 0.5  # of the free memory, that items in flight may take together
START_S = 0.05  # a thread that was started has begun by then
LOOKS = 20_000  # for work, some 7 ms: long enough for one network's pauses, whose threads then begin at once
AHEAD = 2  # items given out for each thread: one computed, one waiting, or its result waiting for its turn


def usable_cores() -> int:
    """Cores that this process may use: those it may run on, fewer where its container is allowed less time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):
        return cores


def set_up_kernel_threads() -> None:
    """Tell TVM, before its thread pool starts, how many cores there are, and how long its threads wait for work on them.

    It takes half of the cores for hyper-threads, and its threads look for work 300,000 times before they sleep: those of three
    models keep a core busy for a second after each call, and whatever else the process computes waits for them.
    """
    os.environ.setdefault("TVM_NUM_THREADS", str(usable_cores()))
    os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", str(LOOKS))


def fitting_jobs(jobs: int | None, item_bytes: int) -> int:
    """How many items to compute at once: `jobs` (all usable cores where None), fewer where memory is short.

    Args:
        jobs: what was asked for.
        item_bytes: memory that one item takes; all together stay within `MEMORY_SHARE` of what is free now.
    """
    room = int(MEMORY_SHARE * psutil.virtual_memory().available)
    return max(1, min(jobs or usable_cores(), room // max(1, item_bytes)))


def _torch() -> Any:
    """The module torch, None on a board; imported before work starts, since its number of threads has to be set before."""
    return importlib.import_module("torch") if importlib.util.find_spec("torch") else None


class _Torch:
    """Threads that torch took for one operation before `one_thread`, how many are inside of it, and who wants it alone."""

    lock = threading.Condition()
    users = 0
    before = 1
    alone: int | None = None
    own = threading.local()  # .depth: how often the thread is inside


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes every operation with one thread, in this thread and in those that start inside.

    It is a setting of the whole process; what held before is set again when the last of all that are inside leaves.
    """
    torch = _torch()
    if torch is None:
        yield
        return
    with _Torch.lock:
        _Torch.lock.wait_for(lambda: _Torch.alone in (None, threading.get_ident()))
        if not _Torch.users:
            _Torch.before = torch.get_num_threads()
        _Torch.users += 1
        _Torch.own.depth = getattr(_Torch.own, "depth", 0) + 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _Torch.lock:
            _Torch.users -= 1
            _Torch.own.depth = getattr(_Torch.own, "depth", 1) - 1
            if not _Torch.users:
                torch.set_num_threads(_Torch.before)
            _Torch.lock.notify_all()


@contextlib.contextmanager
def torch_alone() -> Iterator[None]:
    """No other thread is inside `one_thread` meanwhile, or here.

    Importing a model draws from torch's random numbers, and `torch.export` turns switches of the whole process while it traces:
    another thread's sums would come in another order.
    """
    me = threading.get_ident()
    with _Torch.lock:
        own = getattr(_Torch.own, "depth", 0)
        _Torch.lock.wait_for(lambda: _Torch.alone in (None, me) and _Torch.users <= own)
        outer, _Torch.alone = _Torch.alone, me
    try:
        yield
    finally:
        with _Torch.lock:
            _Torch.alone = outer
            _Torch.lock.notify_all()


def spread(
    function: Callable[[T], R], items: Iterable[T], jobs: int | None = None, name: Callable[[T], str] | None = None
) -> Iterator[R]:
    """`function` of every item, in the items' order; `jobs` items are computed at once, each by one thread.

    At most `AHEAD` items a thread are given out and not yet taken back, so memory is bounded however many there are; the
    items themselves are made by the caller's thread. The first failure is raised at once, as is Ctrl-C: what is in flight
    then ends with the operation that it is at.

    Args:
        function: called in a thread that is no main thread; torch's `no_grad` and the like are set inside it.
        items: gone through as the work goes on.
        jobs: how many are computed at once; all usable cores where None.
        name: of an item, added to a failure's traceback.

    >>> list(spread(lambda x: x * x, range(4), jobs=2))
    [0, 1, 4, 9]
    """
    wanted = jobs or usable_cores()
    source = enumerate(items)
    found: dict[int, R] = {}
    given, taken = 0, 0
    large_arrays_apart()
    with one_thread(), _Crew(function, wanted, name) as crew:
        while True:
            while given - taken < AHEAD * wanted and (more := next(source, None)) is not None:
                crew.give(*more)
                given += 1
            if taken == given:
                return
            while taken not in found:
                index, result = crew.take()
                found[index] = result
            yield found.pop(taken)
            taken += 1


class _Stopped(BaseException):
    """Raised inside a thread whose result nobody waits for any more."""


class _Crew(Generic[T, R]):
    """Threads that compute items; `give` and `take` are called by one thread.

    They are no pool of `concurrent.futures`, whose threads are waited for until their items are finished, also after Ctrl-C.
    """

    def __init__(self, function: Callable[[T], R], jobs: int, name: Callable[[T], str] | None) -> None:
        self.function, self.jobs, self.name = function, jobs, name
        self.tasks: queue.SimpleQueue[tuple[int, T] | None] = queue.SimpleQueue()
        self.results: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()
        self.begun: queue.SimpleQueue[None] = queue.SimpleQueue()  # an entry for each thread that may be ended
        self.threads: list[threading.Thread] = []

    def give(self, index: int, item: T) -> None:
        """Hand out an item; a thread more is started for each until there are `jobs`."""
        self.tasks.put((index, item))
        if len(self.threads) < self.jobs:
            thread = threading.Thread(target=self._work, name=f"lampq-{len(self.threads)}", daemon=True)
            try:
                thread.start()
                self.threads.append(thread)
            except BaseException:  # Ctrl-C, while the thread runs already
                time.sleep(START_S)
                if thread.ident is not None and thread not in self.threads:
                    self.threads.append(thread)
                raise

    def take(self) -> tuple[int, R]:
        """(number of an item, its result), of the next one that ends; raises what it raised."""
        index, result, error = self.results.get()
        if error is not None:
            raise error
        return index, result

    def __enter__(self) -> _Crew[T, R]:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the threads; where something went wrong, end them at their next step."""
        if kind is not None:
            with contextlib.suppress(queue.Empty):
                while True:
                    self.tasks.get_nowait()
            # A thread that is about to begin or to end would print it as an error: all have begun, and none ends before.
            for _thread in self.threads:
                self.begun.get()
            for thread in self.threads:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Stopped))
        for _more in range(len(self.threads) + 1):  # one for a thread at whose start Ctrl-C came
            self.tasks.put(None)
        for thread in self.threads:
            thread.join()

    def _work(self) -> None:
        """Compute items until there are no more."""
        with contextlib.suppress(_Stopped):
            self.begun.put(None)
            if (torch := _torch()) is not None:
                torch.set_num_threads(1)  # OpenMP's number belongs to each thread
            while (task := self.tasks.get()) is not None:
                try:
                    self.results.put((task[0], self.function(task[1]), None))
                except BaseException as e:
                    if self.name is not None and hasattr(e, "add_note"):
                        e.add_note(f"at {self.name(task[1])}")
                    self.results.put((task[0], None, e))
                del task  # what an item holds is not kept while waiting for the next one
                give_back()
