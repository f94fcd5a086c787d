"""What the verbs print: the resolved options on stderr before work, tables and JSON on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lampq_tvm.api.looking import PartRow


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


def show_parts(parts: Sequence[PartRow], macs: float) -> None:
    """Print what stays float, each part's share of all multiply-adds beside it."""
    if not parts:
        return
    rows = [
        (part["name"], " ".join(f"{n} {count}" for n, count in part["operators"].items()), f"{part['macs'] / max(1, macs):.1%}")
        for part in parts
    ]
    total = sum(part["macs"] for part in parts) / max(1, macs)
    print_table(("stays float", "operators", "macs"), [*rows, ("all", "", f"{total:.1%}")])
