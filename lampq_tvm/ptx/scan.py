"""PTX text as a stream of statements. Source: PTX ISA, 4 Syntax."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from lampq_tvm.errors import CorruptError

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
LABEL = re.compile(r"([A-Za-z_$%][\w$]*)\s*:(?!:)")
HEADER = re.compile(r"\.(version|target|address_size|file|loc|pragma)\b[^\n;]*;?")
FUNCTION = re.compile(r"(?:\.(?:visible|weak|extern|noreturn)\s+)*\.(?:entry|func)\b")
END = re.compile(r"[;{]")


class Statement(NamedTuple):
    """A piece of text.

    Attributes:
        kind: `header`, `function` (up to its brace or semicolon), `open`, `close`, `label` or `plain`.
        text: without comments, the semicolon and outer blanks.
        line: from 1.
    """

    kind: str
    text: str
    line: int


def statements(text: str) -> Iterator[Statement]:
    """The statements of a PTX text in order."""
    text = COMMENT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    ends = [i for i, c in enumerate(text) if c == "\n"]
    at, size = 0, len(text)
    while True:
        while at < size and text[at] in " \t\r\n;":
            at += 1
        if at >= size:
            return
        kind, stop = _next(text, at)
        if stop < 0:
            raise CorruptError("a PTX statement does not end", where=f"line {bisect_right(ends, at - 1) + 1}")
        yield Statement(kind, text[at:stop].strip(), bisect_right(ends, at - 1) + 1)
        at = stop


def _next(text: str, at: int) -> tuple[str, int]:
    """Kind and end of the statement at `at`."""
    if text[at] in "{}":
        return ("open" if text[at] == "{" else "close"), at + 1
    if found := HEADER.match(text, at):
        return "header", found.end()
    if found := LABEL.match(text, at):
        return "label", found.end()
    if FUNCTION.match(text, at):
        end = END.search(text, at)
        return "function", end.start() if end else -1
    return "plain", text.find(";", at)
