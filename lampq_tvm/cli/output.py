"""What the verbs print: the resolved options on stderr before work, tables and JSON on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence


def show_options(verb: str, rows: Mapping[str, str]) -> None:
    """The resolved options, one a line, on stderr."""
    wide = max(len(name) for name in rows)
    text = "\n".join(f"  {name:<{wide}}  {value}" for name, value in rows.items())
    print(f"lampq {verb}\n{text}", file=sys.stderr, flush=True)


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns on stdout; numbers to the right."""
    cells = [list(header), *([_cell(v) for v in row] for row in rows)]
    wide = [max(len(row[i]) for row in cells) for i in range(len(header))]
    right = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(header))]
    for row in cells:
        line = "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, wide, right, strict=True))
        print(line.rstrip())


def print_json(value: object) -> None:
    """One line of JSON on stdout, the last one."""
    print(json.dumps(value), flush=True)


def _cell(value: object) -> str:
    """A table's cell."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
