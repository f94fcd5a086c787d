"""Rows of a comparison: which figures count, and how they stand to each other."""

from __future__ import annotations

from typing import Any

from bench.common.peers.case import Case
from bench.common.peers.peer import Runner

COLUMNS = ("model", "where", "threads", "runner", "value", "unit", "kind", "of_fp32", "of_best", "correlation", "missing")
FLOAT = "onnxruntime fp32"
OURS = "lampq "

Row = dict[str, Any]


def judged(row: Row, case: Case, runner: Runner) -> Row:
    """The row with the correlation of its logits in their place; without its figure where that is too small."""
    found = case.correlation(row["logits"])
    row = {k: v for k, v in row.items() if k != "logits"} | {"correlation": found}
    if found >= runner.least:
        return row
    kept = {k: v for k, v in row.items() if k not in ("value", "p95")}
    return {**kept, "missing": f"its logits correlate with torch's by {found:.3f} only: another network"}


def with_ratios(rows: list[Row]) -> list[Row]:
    """Each row of one model in one place with its share of what ONNX Runtime takes in float, and of what the best peer takes.

    >>> values = {"lampq 8/8": {"value": 2.0}, "ncnn int8": {"value": 4.0}, "ncnn fp32": {"missing": "no wheel"}}
    >>> rows = [{"runner": name, **value} for name, value in values.items()]
    >>> [row["of_best"] for row in with_ratios(rows)]
    [0.5, 1.0, None]
    """
    values = {row["runner"]: row["value"] for row in rows if "value" in row}
    best = min((value for runner, value in values.items() if not runner.startswith(OURS)), default=None)
    for row in rows:
        value = row.get("value")
        row["of_fp32"] = value / values[FLOAT] if value and FLOAT in values else None
        row["of_best"] = value / best if value and best else None
    return rows
