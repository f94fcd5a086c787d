"""Tokens in another order: windows, and merged patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lampq_tvm.network.op import Shape, Shaped
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators import OPERATORS


@OPERATORS.register("QRegroup")
@dataclass(frozen=True)
class QRegroup(QOp):
    """Tokens put in another order, cut into windows, or several joined to one: codes or float32, as they come in.

    Input: [B, .., C] with `rows` tokens per image. Output: [B, (windows,) T', parts * C].
    Tensors: `.index` int8, int16 or int32 [(windows,) T', parts], -1 for a token filled with `.fill` [1] (zero in the
    input's units).
    """

    of = ("Regroup",)

    rows: int

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """The index says it."""
        *places, parts = tensors[f"{self.name}.index"].shape
        return (*places, parts * x[0][-1])
