"""The mean of two classifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lampq_tvm.network.op import Shape, Shaped
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators import OPERATORS


@OPERATORS.register("QAverageHeads")
@dataclass(frozen=True)
class QAverageHeads(QOp):
    """fl(fl(a + b) * 0.5) of two float32 values."""

    of = ("AverageHeads",)

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """That of its first input."""
        return x[0]
