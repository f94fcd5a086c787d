"""The sum of two float values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lampq_tvm.network.op import Shape, Shaped
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators import OPERATORS


@OPERATORS.register("QAdd")
@dataclass(frozen=True)
class QAdd(QOp):
    """fl(a + b) of two float32 values: a stream and a normalized branch."""

    of = ("Residual",)

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """That of its first input."""
        return x[0]
