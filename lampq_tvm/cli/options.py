"""Options that only a command line has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from lampq_tvm.api.option import Group, Option


@dataclass(frozen=True, kw_only=True)
class Form(Group):
    """How results are printed.

    Attributes:
        json: as one line of JSON.
    """

    json: Annotated[bool, Option("Machine-readable: one line of JSON on stdout.")] = False
