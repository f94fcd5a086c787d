"""A gated activation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lampq_tvm.network.op import Shape, Shaped
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators import OPERATORS


@OPERATORS.register("QGate")
@dataclass(frozen=True)
class QGate(QOp):
    """fl(table[sat(rne(g)) + 128] * x), float32; g, an 8-bit code before rounding, and x are columns of the two inputs.

    Inputs [B, .., Ca], [B, .., Cb] f32: columns gate_at.. and value_at.., `width` of them. Tensor: `.table` [256] f32.
    """

    of = ("Gate",)

    gate_at: int
    value_at: int
    width: int

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """`width` channels."""
        return (*x[0][:-1], self.width)
