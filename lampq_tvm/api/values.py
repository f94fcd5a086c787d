"""Values of options: texts are read, numbers and choices are judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from lampq_tvm.errors import UsageError

MOST_THREADS = 1024
LARGE = 1 << 30


def parse_model_args(pairs: Sequence[str]) -> dict[str, Any]:
    """`k=v` pairs; values are read as JSON where they can be.

    >>> parse_model_args(["depths=[2,2]", "act=gelu"])
    {'depths': [2, 2], 'act': 'gelu'}
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key.isidentifier():
            raise UsageError(f"{pair!r} is not k=v", where="--model-arg", hint="for example depth=6")
        try:
            found[key] = json.loads(text)
        except (ValueError, RecursionError):
            found[key] = text
    return found


def floats(where: str) -> Callable[[str], tuple[float, ...]]:
    """Reads numbers separated by commas, for an option.

    >>> floats("--mean")("0.485,0.456,0.406")
    (0.485, 0.456, 0.406)
    """

    def read(text: str) -> tuple[float, ...]:
        try:
            return tuple(float(part) for part in text.split(","))
        except ValueError as e:
            raise UsageError(f"{text!r} is not a list of numbers", where=where, hint="for example 0.485,0.456,0.406") from e

    return read


def parse_size(text: str) -> int | tuple[int, int]:
    """Side of a square image, or height and width.

    >>> parse_size("224"), parse_size("364x490")
    (224, (364, 490))
    """
    try:
        side, *more = (int(part) for part in text.lower().split("x"))
    except ValueError:
        more = [0, 0]
    if len(more) > 1:
        raise UsageError(f"{text!r} is no image size", where="--size", hint="for example 224, or 364x490 (height x width)")
    return (side, more[0]) if more else side


def parse_names(text: str) -> tuple[str, ...]:
    """Names separated by commas.

    >>> parse_names("head,*.fc2")
    ('head', '*.fc2')
    """
    return tuple(name for name in text.split(",") if name)


def check_range(where: str, value: int | None, low: int, high: int) -> None:
    """Raise UsageError unless a whole number lies in low..high; None is not looked at."""
    if value is not None and not low <= value <= high:
        raise UsageError(f"{value} is out of range", where=where, hint=f"give {low}..{high}")


def check_choice(where: str, value: str | None, allowed: Sequence[str]) -> None:
    """Raise UsageError unless value is one of those allowed, or None."""
    if value not in (None, *allowed):
        raise UsageError(f"{value!r} is not a choice", where=where, hint=f"use {', '.join(allowed)}")
