"""Cycles of a core, estimated from the classes of the instructions that it executes.

A core has kinds of units: its decoder (`issue`), integer pipes, vector pipes and so on. An instruction occupies one or more of
them, by the vendor's optimization guide. The busiest kind is a lower bound on a block's cycles; units that are nearly as busy
delay it further, since no scheduler is perfect:

    pressure[u] = sum over classes of count[class] * uses[class][u] / units[u]
    cycles      = (sum over u of pressure[u] ** 4) ** (1 / 4)        for each block of instructions

count.c adds them up over the blocks that a program executes.

Caches and mispredicted branches are left out. `bench/estimates/estimates.py` states the error against llvm-mca.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pydantic

from lampq_tvm.device.classes import CLASSES
from lampq_tvm.errors import UnsupportedError
from lampq_tvm.files import Schema, read_toml
from lampq_tvm.resources import data_dir
from lampq_tvm.store import digest
from lampq_tvm.targets.board import Board

SHARPNESS = 4


class Core(Schema):
    """One file of `targets/cores/`.

    Attributes:
        units: how many operations a cycle each kind of unit takes.
        uses: cycles of each kind that an instruction of a class occupies, besides one of `issue`; classes left out only issue.
        source: the document that the figures come from.
    """

    name: str
    source: str = pydantic.Field(min_length=1)
    units: dict[str, Annotated[float, pydantic.Field(gt=0, le=1024)]]
    uses: dict[str, dict[str, Annotated[float, pydantic.Field(ge=0, le=1024)]]]

    @pydantic.model_validator(mode="after")
    def _known_names(self) -> Core:
        unknown = (self.uses.keys() - set(CLASSES)) | {u for use in self.uses.values() for u in use if u not in self.units}
        if unknown or "issue" not in self.units:
            raise ValueError(f"unknown classes or units: {', '.join(sorted(unknown)) or 'no issue'}")
        return self

    @functools.cached_property
    def pressure(self) -> np.ndarray:
        """Cycles that one instruction of each class keeps each kind of unit busy [class, unit], float64."""
        rows = [{"issue": 1.0, **self.uses.get(name, {})} for name in CLASSES]
        return np.array([[row.get(unit, 0.0) / count for unit, count in self.units.items()] for row in rows])

    @property
    def digest(self) -> str:
        """Changes with every figure."""
        return digest(self.model_dump(), SHARPNESS)[:16]

    def cycles(self, classes: Sequence[int]) -> float:
        """Estimated cycles of one execution of a block.

        Args:
            classes: its instructions by class.
        """
        return float(((np.asarray(classes, np.float64) @ self.pressure) ** SHARPNESS).sum() ** (1 / SHARPNESS))


def core_of(board: Board | None) -> Core | None:
    """The core whose figures estimate a board's cycles; None where nobody published any.

    Raises:
        UnsupportedError: its file is broken.
    """
    return None if board is None or board.arm.core is None else _load(board.arm.core)


@functools.cache
def _load(name: str) -> Core:
    return read_core(data_dir("targets") / "cores" / f"{name}.toml")


def read_core(path: Path) -> Core:
    """A core's file.

    Raises:
        UnsupportedError: it is none.
    """
    broken, hint = UnsupportedError, "compare it with the files beside it"
    return read_toml(path, Core, "the core file", unreadable=broken, broken=broken, hint=hint)
