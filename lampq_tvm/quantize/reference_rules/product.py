"""Products with weights and their epilogues."""

from __future__ import annotations

from torch import Tensor

from lampq_tvm.network.unary import UNARY
from lampq_tvm.quantize import exact
from lampq_tvm.quantize.operators.product import QProduct
from lampq_tvm.quantize.reference_rules import RULES


@RULES.register(QProduct)
def product(op: QProduct, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """Product and epilogue."""
    acc = exact.sums(x[0], t["w"], op.a, op.multiplied)
    if op.epilogue == "float":
        return exact.fma(acc, t["S"], t["B"])
    if op.epilogue == "residual":
        return x[1] + exact.fma(acc, t["S"], t["B"])
    assert op.encode is not None
    if op.epilogue == "act":
        inverse, zero = t["affine"]
        return exact.encode(exact.fma(UNARY[op.act](exact.fma(acc, t["S"], t["B"])), inverse, zero), op.encode, t)
    return exact.encode(exact.fma(acc, t["M"], t["B"]), op.encode, t)
