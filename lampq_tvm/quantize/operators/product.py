"""A product with weights and its epilogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lampq_tvm.network.op import Shape, Shaped
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators import OPERATORS


@OPERATORS.register("QProduct")
@dataclass(frozen=True)
class QProduct(QOp):
    """Product acc[.., n] = sum_k a[.., k] w[n, k], in integers or of float16 values in float32, then an epilogue.

    Tensors: `.w` [N, K] int8 codes, float16 at 16 bits, and by `epilogue`:
        codes: `.M` `.B` [N] f32; code = sat(rne(fma(acc, M, B))) at out_bits.
        table: the 8-bit code of `codes`, then `.table` [256] int8 or float16 at index code + 128: the next layer's codes.
        act: of a float16 layer, `.S` `.B` [N] f32, `.affine` [2] f32; x = f(fma(acc, S, B)), then codes as `QToCodes`.
        residual: inputs (codes, stream), `.S` `.B` [N] f32; stream + fma(acc, S, B), float32.
        float: `.S` `.B` [N] f32; fma(acc, S, B), float32.

    Attributes:
        w_bits, a_bits: widths of the weight codes and the input codes.
        out_bits: width of the codes that `codes` and `act` saturate to (8 before a table).
        act: of `act`, the activation function f.
    """

    epilogue: str
    w_bits: int
    a_bits: int
    out_bits: int
    act: str = ""

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """Other channels."""
        return (*x[0][:-1], tensors[f"{self.name}.w"].shape[0])

    @property
    def packed(self) -> Mapping[str, int]:
        """The weights."""
        return {"w": self.w_bits}

    def at_widths(self, w_bits: int, a_bits: int) -> QProduct:
        """Both of them."""
        return replace(self, w_bits=w_bits, a_bits=a_bits)
