"""The residual sum: what is added to the stream makes it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.operators.residual import Residual
from lampq_tvm.quantize.build_rules import PAYLOAD, REALS, SUMS
from lampq_tvm.quantize.builder import Builder, no_rule


@REALS.register(Residual)
def residual(b: Builder, op: Residual) -> str:
    """The stream first, then its branch, times LayerScale."""
    stream, branch = b.real(op.inputs[0]), b.model.op(op.inputs[1])
    scale = b.model.tensors[f"{op.name}.scale"].astype(np.float64)
    rule = SUMS.get(type(branch))
    if rule is None:
        raise no_rule(op, branch)
    return rule(b, branch, op, stream, scale)


@PAYLOAD.register(Residual)
def residual_bytes(model: ImportedModel, op: Residual, floats: Collection[str]) -> int:
    """Its factor is part of the constants of what is added."""
    return 0
