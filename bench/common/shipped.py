"""Tuning records as tables: what tuned schedules gain on the default ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from lampq_tvm.records.cpu import Record, read_record

LEVELS_SHOWN = ("vbmi", "vnni", "avx2", "i8mm", "dotprod", "neon")
COLUMNS = ("isa", "kernel", "tiles", "default", "tuned", "unit", "speedup", "trials", "failed")


def records(database: Path) -> Iterator[Record]:
    """The records of every level in a database."""
    for isa in LEVELS_SHOWN:
        for path in sorted((database / isa).glob("*.json")):
            if record := read_record(database, isa, path.stem):
                yield record


def row(record: Record) -> dict[str, Any]:
    """A row of the table."""
    facts = record.model_dump(include={"isa", "kernel", "unit", "kind", "trials", "failed"})
    tiles = "x".join(map(str, record.tiles.model_dump().values()))
    speedup = round(record.default_cost / record.cost, 3)
    return {**facts, "tiles": tiles, "default": record.default_cost, "tuned": record.cost, "speedup": speedup}


def summary(isa: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A level's row of the compact table: how much faster than the default schedules."""
    speedups, tried = [row["speedup"] for row in rows], sum(row["trials"] for row in rows)
    return {
        "isa": isa,
        "unit": rows[0]["unit"],
        "tasks": len(rows),
        "candidates": tried,
        "failed_percent": round(100 * sum(row["failed"] for row in rows) / tried, 2),
        "least": round(min(speedups), 2),
        "median": round(median(speedups), 2),
        "most": round(max(speedups), 2),
        "all_tasks": round(sum(row["default"] for row in rows) / sum(row["tuned"] for row in rows), 3),
    }
