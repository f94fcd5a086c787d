"""A case in a process of its own, forked from one that has loaded everything, and the photos that cases share."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.common.photos import halves

TESTED = 64  # photos that are looked at
Row = dict[str, Any]


def chosen(photos: Path, work: Path) -> tuple[Path, Path]:
    """Folders of the photos that calibrate, and of those that are looked at."""
    calibration, test = halves(photos, work)
    folder = work / "looked_at"
    folder.mkdir(exist_ok=True)
    files = sorted(test.iterdir())
    for path in files[:: max(1, len(files) // TESTED)][:TESTED]:
        if not (folder / path.name).exists():
            (folder / path.name).symlink_to(path.resolve())
    return calibration, folder


def apart(case: Callable[[Path], Row], folder: Path, seconds: int) -> Row:
    """The row of a case, which is told a folder for its files; what is said of one that ends early.

    Args:
        folder: is made, and removed.
        seconds: that it may take.
    """
    folder.mkdir(exist_ok=True)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_child, args=(there, case, folder))
    child.start()
    pid = child.pid
    assert pid is not None, "it was started"
    there.close()
    try:
        found: Row = here.recv() if here.poll(seconds) else {"refused": f"not done in {seconds} s", "exit": 1}
    except EOFError:
        child.join()
        found = {"refused": f"ended with {child.exitcode}", "exit": 1}
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # and what it started
    child.join()
    shutil.rmtree(folder)
    return found


def _child(pipe: Any, case: Callable[[Path], Row], folder: Path) -> None:
    os.environ["LAMPQ_CACHE"] = str(folder / "cache")
    os.setsid()
    with (folder / "log").open("w") as log:
        os.dup2(log.fileno(), 2)
        pipe.send(case(folder))
