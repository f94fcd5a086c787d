"""How a person wants a data set to be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lampq_tvm.errors import UsageError

ORDERS = ("text", "natural")


@dataclass(frozen=True)
class Reading:
    """How to read a data set.

    Attributes:
        class_order: how class folders are numbered: `text`, as torchvision does (`1 10 2`), or `natural`, as timm does
            (`1 2 10`); None where both must agree.
        class_map: a file that says which class each folder is.
        skip_broken: leave out broken files instead of refusing them.
    """

    class_order: str | None = None
    class_map: Path | None = None
    skip_broken: bool = False

    def __post_init__(self) -> None:
        if self.class_order not in (None, *ORDERS):
            raise UsageError(f"{self.class_order!r} is not a choice", where="--class-order", hint=f"use {' or '.join(ORDERS)}")
        if self.class_order is not None and self.class_map is not None:
            raise UsageError("--class-order and --class-map exclude each other", hint="give one of them")
