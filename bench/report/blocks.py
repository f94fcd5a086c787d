"""Blocks of a page that are written, not typed: between two comments that name them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path


def filled(text: str, blocks: Mapping[str, Callable[[], str]]) -> str:
    """The text with each block made anew.

    Raises:
        LookupError: a block is missing, or there twice.

    >>> print(filled("a\\n<!-- x: written by make pages -->\\nold\\n<!-- end of x -->", {"x": lambda: "new"}))
    a
    <!-- x: written by make pages -->
    new
    <!-- end of x -->
    """
    for name, make in blocks.items():
        begin, end = f"<!-- {name}: written by make pages -->\n", f"\n<!-- end of {name} -->"
        found = re.findall(re.escape(begin) + ".*?" + re.escape(end), text, flags=re.DOTALL)
        if len(found) != 1:
            raise LookupError(f"{len(found)} blocks `{name}`")
        text = text.replace(found[0], f"{begin}{make()}{end}")
    return text


def filled_in(path: Path, blocks: Mapping[str, Callable[[], str]]) -> dict[Path, str]:
    """A page by its path, with its blocks made anew."""
    return {path: filled(path.read_text("utf-8"), blocks)}
