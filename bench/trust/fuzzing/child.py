"""Reads many mutations in forked children: what each ends with, whatever it does to the process."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lampq_tvm.__main__ import run_command
from lampq_tvm.errors import LampqError

LIMIT_BYTES = 2 << 30  # above what the imports take
LIMIT_S = 10
PATIENCE_S = 5  # beyond the limit, for a child that does not hear its alarm
LONGEST = 1000  # characters of a line
BATCH = 50  # mutations a child reads
CODES = (0, 2, 3, 4, 5, 6, 7, 8)  # 1 is a bug of ours, and nothing interrupts a command here

Make = Callable[[random.Random, Path], Path]  # writes a mutation into a folder


class Hang(BaseException):
    """The alarm; no `except Exception` swallows it."""


def read_once(read: Callable[[Path], Any], path: Path) -> str:
    """`accepted` or `refused`; everything else is a finding."""
    try:
        read(path)
    except LampqError as e:
        line = str(e)
        clear = line and line.isprintable() and len(line) < LONGEST
        return "refused" if clear else f"finding: a line of {len(line)}: {line[:200]!r}"
    return "accepted"


def run_once(argv: list[str]) -> str:
    """What a command ends with: its code, and one line where it is not 0."""
    with tempfile.TemporaryFile() as out:
        kept = os.dup(1), os.dup(2)
        sys.stdout.flush()
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
        try:
            code = run_command(argv)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
        out.seek(0)
        text = out.read().decode(errors="replace")
    errors = [line for line in text.splitlines() if line.startswith("error:")]
    if code not in CODES or len(errors) != (code != 0) or "Traceback (most recent" in text:
        return f"finding: exit {code}: {text[-400:]}"
    return "accepted" if code == 0 else "refused"


def outcomes(
    seeds: list[int], make: Make, use: Callable[[Path], str], setup: Callable[[], object]
) -> Iterator[tuple[int, str]]:
    """(seed, outcome) of every mutation; a child that dies or hangs costs the one in flight and is followed by another."""
    rest = list(seeds)
    while rest:
        batch, rest = rest[:BATCH], rest[BATCH:]
        done = yield from _batch(batch, make, use, setup)
        rest = batch[done:] + rest


def _batch(seeds: list[int], make: Make, use: Callable[[Path], str], setup: Callable[[], object]) -> Any:
    """Outcomes of one child; returns how many seeds are behind."""
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(seeds, make, use, setup, writer)
    os.close(writer)
    done, buffer = 0, b""
    with contextlib.closing(os.fdopen(reader, "rb", 0)) as answers:
        while done < len(seeds):
            ready, _, _ = select.select([answers], [], [], LIMIT_S + PATIENCE_S)
            piece = answers.read(1 << 16) if ready else b""
            if not piece:
                break
            *lines, buffer = (buffer + piece).split(b"\n")
            for line in lines:
                yield seeds[done], json.loads(line)
                done += 1
    if done < len(seeds):
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if done < len(seeds):
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        yield seeds[done], "finding: no answer" if killed else f"finding: the process ended with {status}"
        done += 1
    return done


def _child(seeds: list[int], make: Make, use: Callable[[Path], str], setup: Callable[[], object], writer: int) -> None:
    """Never returns."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")  # whatever took their place before
        setup()
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + LIMIT_BYTES, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGALRM, _alarm)
        for seed in seeds:
            with tempfile.TemporaryDirectory(dir=_fast(), ignore_cleanup_errors=True) as folder:
                os.write(writer, json.dumps(_one(seed, make, use, Path(folder))).encode() + b"\n")
        os._exit(0)
    except BaseException:
        os._exit(99)


def _one(seed: int, make: Make, use: Callable[[Path], str], folder: Path) -> str:
    path = make(random.Random(seed), folder)
    try:
        signal.alarm(LIMIT_S)
        return use(path)
    except Hang:
        return "finding: longer than the limit"
    except BaseException as e:
        place = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(e.__traceback__)][-4:]
        return f"finding: {type(e).__name__}: {' '.join(str(e).split())[:200]} ({' < '.join(place[::-1])})"
    finally:
        signal.alarm(0)


def _alarm(*_: object) -> None:
    raise Hang


def _fast() -> str | None:
    """A folder in memory, where there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
