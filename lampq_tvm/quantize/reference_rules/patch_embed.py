"""The patch embedding."""

from __future__ import annotations

import torch
from torch import Tensor

from lampq_tvm.kinds import Kind
from lampq_tvm.quantize import exact
from lampq_tvm.quantize.operators.patch_embed import QPatchEmbed
from lampq_tvm.quantize.reference_rules import RULES


@RULES.register(QPatchEmbed)
def patch_embed(op: QPatchEmbed, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """Patches by unfolding, their product, positions, and the precomputed prefix rows in front."""
    columns = torch.nn.functional.unfold(x[0].float(), op.patch, stride=op.patch).transpose(1, 2)
    tokens = t["pos"] + exact.fma(exact.sums(columns, t["w"], Kind.INT8, op.multiplied), t["S"], t["B"])
    return torch.cat([t["prefix"].expand(len(x[0]), -1, -1), tokens], 1)
