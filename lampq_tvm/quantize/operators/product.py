"""A product with weights and its epilogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lampq_tvm.kinds import Encode, Kind, of_width
from lampq_tvm.network.op import Shape, Shaped
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators import OPERATORS
from lampq_tvm.quantize.weighted import Weighted


@OPERATORS.register("QProduct")
@dataclass(frozen=True)
class QProduct(Weighted, QOp):
    """Product acc[.., n] = sum_k a[.., k] w[n, k], in integers or of float16 values in float32, then an epilogue.

    Tensors: `.w` [N, K] int8 or float16, `.zero` [N] int8 or `.levels` where codes have such, and by `epilogue`:
        codes: `.M` `.B` [N] f32; fma(acc, M, B) is stored as `encode` says; its table may hold an activation function too.
        act: of a float16 layer, `.S` `.B` [N] f32, `.affine` [2] f32; x = f(fma(acc, S, B)), then codes as `QToCodes`.
        residual: inputs (codes, stream), `.S` `.B` [N] f32; stream + fma(acc, S, B), float32.
        float: `.S` `.B` [N] f32; fma(acc, S, B), float32.

    Attributes:
        w, a: kinds of the weights' codes and of the input.
        offset, tabled: as of `Weighted`.
        encode: of `codes` and `act`, how codes are stored.
        act: of `act`, the activation function f.
    """

    of = ("Linear", "Activation", "Residual")

    epilogue: str
    w: Kind
    a: Kind
    encode: Encode | None = None
    act: str = ""
    offset: tuple[int, ...] = ()
    tabled: tuple[int, ...] = ()

    @property
    def a_bits(self) -> int:
        """Width of the input."""
        return self.a.bits

    @property
    def finish(self) -> str:
        """What its kernel ends with: the epilogue, or `table` where the codes of `codes` are looked up."""
        looked_up = self.encode is not None and self.encode.table is not None
        return "table" if self.epilogue == "codes" and looked_up else self.epilogue

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """Other channels."""
        return (*x[0][:-1], tensors[f"{self.name}.w"].shape[0])

    def at_widths(self, w_bits: int, a_bits: int) -> QProduct:
        """Both of them."""
        return replace(self, w=of_width(w_bits), a=of_width(a_bits))
