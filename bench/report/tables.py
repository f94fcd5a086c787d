"""Results read, and tables and figures as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results"
Row = dict[str, Any]

SHORT = {
    "deit_tiny_patch16_224": "DeiT-T",
    "deit_small_patch16_224": "DeiT-S",
    "vit_base_patch16_224": "ViT-B",
    "swin_tiny_patch4_window7_224": "Swin-T",
}


def load(name: str) -> Row:
    """A file of `bench/results/` by its name without `.json`."""
    found: Row = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return found


def one(rows: Iterable[Row], **wanted: Any) -> Row:
    """The one row with these values.

    Raises:
        LookupError: there is none, or there are several.
    """
    found = [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]
    if len(found) != 1:
        raise LookupError(f"{len(found)} rows with {wanted}")
    return found[0]


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; a bar within a cell is kept.

    >>> print(table(["a", "b"], [["x|y", 1], ["z", None]]))
    | a | b |
    |---|---|
    | x\\|y | 1 |
    | z | - |
    """
    lines = [columns, *rows]
    text = ["| " + " | ".join("-" if c is None else str(c).replace("|", "\\|") for c in line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(columns), *text[1:]])


def figure(value: float) -> str:
    """A figure of about three digits, never in powers of ten.

    >>> [figure(x) for x in (0.4705, 7.123, 23.44, 349.7, 1256.2)]
    ['0.47', '7.1', '23.4', '350', '1256']
    """
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def ratio(value: float) -> str:
    """A ratio: `0.63x`."""
    return f"{value:.2f}x"


def kilobytes(value: float) -> str:
    """Bytes as kilobytes of a thousand: `423 kB`."""
    return f"{value / 1000:,.0f} kB"


def percent(share: float) -> str:
    """A share of 1 in percent, two decimals: `91.32`."""
    return f"{100 * share:.2f}"


def bold(cells: Iterable[str | None], when: bool = True) -> list[str | None]:
    """The cells, in bold where `when`."""
    return [f"**{cell}**" if when and cell is not None else cell for cell in cells]
