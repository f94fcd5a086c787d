"""Codes become what a table says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lampq_tvm.network.op import Shape, Shaped
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators import OPERATORS


@OPERATORS.register("QLookUp")
@dataclass(frozen=True)
class QLookUp(QOp):
    """table[code + 128] of 8-bit codes: a plane of levels that take 16 bits. Tensor: `.table` [256] int8."""

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """That of its first input."""
        return x[0]
