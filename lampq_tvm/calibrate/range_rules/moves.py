"""Tokens taken, averaged, put in another order or turned: their channels are about as they were."""

from __future__ import annotations

from lampq_tvm.calibrate.range_rules import DEVIATIONS, F64, Deviation
from lampq_tvm.network.model import ImportedModel, MeanTokens, Op, Regroup, Rotary, TakeToken


@DEVIATIONS.register(TakeToken, MeanTokens, Regroup, Rotary)
def moved_deviation(model: ImportedModel, op: Op, before: Deviation) -> F64 | None:
    """Its input's."""
    return before(op.inputs[0])
