"""Progress of long work on stderr: a bar on a terminal, sparse plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

T = TypeVar("T")

LINE_SECONDS = 10.0

_bars: list[Any] = []  # the one live display; nested loops add their rows to it


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Yield the items and show how far the loop is.

    Args:
        items: what the loop goes through.
        label: what is being done, a few words.
        total: how many items there are; `len(items)` where it is known.

    >>> list(track([1, 2], "squares"))  # on a pipe: "squares: 2/2 (0.0 s)" on stderr
    [1, 2]
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    return _bar(items, label, total) if sys.stderr.isatty() else _lines(items, label, total)


def note(text: str) -> None:
    """One plain line on stderr, above a bar that is being drawn."""
    if _bars:
        _bars[-1].console.print(text, markup=False, highlight=False)
    else:
        print(text, file=sys.stderr, flush=True)


def _lines(items: Iterable[T], label: str, total: int | None) -> Iterator[T]:
    """Items with a line every `LINE_SECONDS` and one at the end."""
    start = last = time.monotonic()
    count = 0
    of = "" if total is None else f"/{total}"
    for item in items:
        yield item
        count += 1
        now = time.monotonic()
        if now - last >= LINE_SECONDS and count != total:
            print(f"{label}: {count}{of} ({now - start:.0f} s)", file=sys.stderr, flush=True)
            last = now
    if count:
        print(f"{label}: {count}{of} ({time.monotonic() - start:.1f} s)", file=sys.stderr, flush=True)


def _bar(items: Iterable[T], label: str, total: int | None) -> Iterator[T]:
    """Items with a row in the live display, which the outermost loop starts and ends."""
    from rich.console import Console
    from rich.progress import Progress

    outermost = not _bars
    if outermost:
        _bars.append(Progress(console=Console(stderr=True), transient=False))
        _bars[-1].start()
    bar = _bars[-1]
    task = bar.add_task(label, total=total)
    try:
        for item in items:
            yield item
            bar.advance(task)
    finally:
        if outermost:
            _bars.pop().stop()
        else:
            bar.remove_task(task)
