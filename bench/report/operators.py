"""The table of operators in `docs/arithmetic.md`, from what their classes say of themselves."""

from __future__ import annotations

import inspect
import re

from bench.report.tables import table
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators import OPERATORS


def operators() -> str:
    """A row an operator of the integer network, by name."""
    ops = sorted(OPERATORS.values(), key=lambda op: op.__name__)
    rows = [[f"`{op.__name__}`", ", ".join(f"`{name}`" for name in op.of) or None, rule(op)] for op in ops]
    return table(["operator", "of", "what it computes"], rows)


def rule(op: type[QOp]) -> str:
    """The first paragraph of a class's docstring, in which nothing is taken for markup."""
    parts = " ".join(inspect.cleandoc(op.__doc__ or "").partition("\n\n")[0].split()).split("`")
    return "`".join(part if i % 2 else re.sub(r"([*_<])", r"\\\1", part) for i, part in enumerate(parts))
