"""Matrix product of two computed values on codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lampq_tvm.kinds import Kind
from lampq_tvm.network.op import Shape, Shaped
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators import OPERATORS


@OPERATORS.register("QMatMul")
@dataclass(frozen=True)
class QMatMul(QOp):
    """Codes a [B, .., M, K] and b [B, .., K, N] to float32: fl(fl(acc) * S), acc = sum_k (a - zero) b. Tensor: `.S` [1] f32.

    Attributes:
        transposed: b is [B, .., N, K] instead.
        zero: a's code of zero: 0, or -128 where a is never negative.
    """

    of = ("MatMul",)

    transposed: bool
    zero: int

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """Rows of a, columns of b."""
        return (*x[0][:-1], x[1][-2 if self.transposed else -1])

    @property
    def unweighted(self) -> Mapping[str, Kind]:
        """Its one product."""
        return {"products": Kind.INT8}
