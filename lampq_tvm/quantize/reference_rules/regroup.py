"""Tokens in another order."""

from __future__ import annotations

import torch
from torch import Tensor

from lampq_tvm.quantize.operators.regroup import QRegroup
from lampq_tvm.quantize.reference_rules import RULES


@RULES.register(QRegroup)
def regroup(op: QRegroup, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """Tokens picked by their number, one part after another, then the empty ones filled."""
    tokens = x[0].reshape(len(x[0]), op.rows, -1)
    parts = []
    for index in t["index"].unbind(-1):
        picked = tokens.index_select(1, index.flatten().clamp(min=0).int()).view(len(x[0]), *index.shape, -1)
        parts.append(torch.where((index < 0).unsqueeze(-1), t["fill"], picked))
    return torch.cat(parts, -1)
