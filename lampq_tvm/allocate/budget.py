"""Budgets as a person writes them: `4bit`, `4/8bit`, `2.5ms`, `0.6x`, `8MiB`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from lampq_tvm.errors import UsageError

DEFAULT = "8bit"
EXAMPLES = "write 4bit, 4/8bit (weights/activations), 2.5ms, 0.6x or 8MiB"
BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
PATTERNS = {
    "bits": rf"{NUMBER}(?:/{NUMBER})?bits?",
    "ms": rf"{NUMBER}(ms)",
    "ratio": rf"{NUMBER}(x)",
    "bytes": rf"{NUMBER}((?:[KMG]i?)?B)",
}


@dataclass(frozen=True)
class Budget:
    """An upper limit on what a plan may cost.

    Attributes:
        kind: `bits` (average), `ms` (milliseconds), `ratio` (of the float baseline's time) or `bytes` (payload).
        value: the limit in that unit; of `bits` that of the weights.
        a_value: of `bits` written as a pair, the limit of the activations; else None.
        text: as it was written.
    """

    kind: str
    value: float
    a_value: float | None
    text: str

    @property
    def needs_latency(self) -> bool:
        """Whether it limits a time."""
        return self.kind in ("ms", "ratio")


@dataclass(frozen=True)
class DropBudget:
    """The accuracy that a plan may cost, in points (percent of images)."""

    points: float

    @property
    def text(self) -> str:
        """As it is shown."""
        return f"max-drop {self.points:g}"


def parse_budget(text: str) -> Budget:
    """Read a budget.

    Raises:
        UsageError: it is none, or its value is not positive.

    >>> parse_budget("4/8bit")
    Budget(kind='bits', value=4.0, a_value=8.0, text='4/8bit')
    >>> parse_budget("1.5KiB").value
    1536.0
    """
    short = "".join(text.split())
    matches = {kind: re.fullmatch(pattern, short, re.IGNORECASE) for kind, pattern in PATTERNS.items()}
    kind, match = next(((k, m) for k, m in matches.items() if m), ("", None))
    if match is None:
        raise UsageError(f"{text!r} is not a budget", where="--budget", hint=EXAMPLES)
    first, second = float(match[1]), match[2]
    value = first * BYTES[second.upper()] if kind == "bytes" else first
    a_value = float(second) if kind == "bits" and second else None
    if value <= 0 or a_value == 0 or not math.isfinite(value):
        raise UsageError(f"the budget {text!r} is not a positive number", where="--budget", hint=EXAMPLES)
    return Budget(kind, value, a_value, short)


def parse_drop(text: str) -> DropBudget:
    """Read the value of `--max-drop`: points of accuracy, 0 or more.

    Raises:
        UsageError: it is no such number.
    """
    if not re.fullmatch(NUMBER, text.strip()):
        raise UsageError(f"{text!r} is not a number of points", where="--max-drop", hint="write 0.5 for half a point")
    return DropBudget(float(text))
