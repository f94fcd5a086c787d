"""The mean of two classifiers."""

from __future__ import annotations

from collections.abc import Collection

from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.operators.average_heads import AverageHeads
from lampq_tvm.quantize.build_rules import PAYLOAD, REALS
from lampq_tvm.quantize.builder import Builder
from lampq_tvm.quantize.operators.average_heads import QAverageHeads


@REALS.register(AverageHeads)
def average(b: Builder, op: AverageHeads) -> str:
    """Half of the sum of their logits."""
    return b.add(QAverageHeads(op.name, tuple(b.real(name) for name in op.inputs)))


@PAYLOAD.register(AverageHeads)
def average_bytes(model: ImportedModel, op: AverageHeads, floats: Collection[str]) -> int:
    """No constants."""
    return 0
