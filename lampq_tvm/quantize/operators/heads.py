"""What some models do to q and k before they become codes: divide by their lengths, turn by their token's angles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lampq_tvm.kinds import Encode
from lampq_tvm.network.op import Shape, Shaped
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators import OPERATORS


@OPERATORS.register("QUnitHeads")
@dataclass(frozen=True)
class QUnitHeads(QOp):
    """Float qkv [B, .., T, 3 * heads * head_dim] to codes; q and k are first divided by their lengths, head by head.

    u = fl(x * fl(1 / max(fl(sqrt(sum of x^2)), fl(eps)))), summed in lanes as LayerNorm's squares;
    code = sat(rne(fma(u, inv, 0))); v without the length. Tensor: `.inv` [3, heads] f32.
    """

    of = ("UnitHeads",)

    heads: int
    head_dim: int
    eps: float
    encode: Encode

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """That of its first input."""
        return x[0]


@OPERATORS.register("QRotary")
@dataclass(frozen=True)
class QRotary(QOp):
    """Float qkv [B, .., T, 3 * heads * head_dim] to codes; q and k are first turned, head by head.

    u = fma(x[c], cos[t, c], fl(x[partner[c]] * sin[t, c])); code = sat(rne(fma(u, inv, 0))); v is not turned.
    Tensors: `.cos` `.sin` [T, head_dim] f32, `.partner` [head_dim] int32, `.inv` [3, heads] f32.
    """

    of = ("Rotary",)

    heads: int
    head_dim: int
    encode: Encode

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """That of its first input."""
        return x[0]
