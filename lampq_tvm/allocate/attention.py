"""Widths of the attentions as variables: the least loss whose average, weighted by multiply-adds, stays within a budget."""

from __future__ import annotations

import math

import numpy as np

from lampq_tvm.allocate.ilp import Row, solve
from lampq_tvm.errors import InfeasibleError
from lampq_tvm.network.model import Attends, ImportedModel
from lampq_tvm.sensitivity.table import Sensitivity


def attention_macs(model: ImportedModel, name: str) -> int:
    """Multiply-adds of an attention's two products for one image."""
    op = model.op(name)
    assert isinstance(op, Attends)
    shape = model.shapes[name]
    queries, keys = math.prod(shape[:-1]), model.shapes[op.inputs[0]][-2]
    return 2 * queries * keys * shape[-1]


def allocate_attention(model: ImportedModel, s: Sensitivity, budget: float) -> dict[str, int]:
    """Width of each attention.

    Raises:
        InfeasibleError: the budget lies below the narrowest width.
    """
    down = sorted(s.widths, reverse=True)
    macs = np.array([attention_macs(model, name) for name in s.layers], np.float64)
    diagonal = [np.array([s.loss[i, s.widths.index(b), s.widths.index(b)] for b in down]) for i in range(len(macs))]
    loss = [np.maximum.accumulate(row) for row in diagonal]  # a narrower width never counts as better
    row = Row([m * np.array(down, np.float64) for m in macs], budget * float(macs.sum()))
    choice = solve(loss, [row])
    if choice is None:
        what = f"attention cannot have {budget:g} bits on average"
        raise InfeasibleError(what, where="--attention-budget", hint=f"give {down[-1]} or more")
    return {name: down[p] for name, p in zip(s.layers, choice, strict=True)}
