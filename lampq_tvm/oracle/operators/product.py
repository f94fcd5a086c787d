"""Products with weights and their epilogues."""

from __future__ import annotations

import numpy as np

from lampq_tvm.oracle import ops
from lampq_tvm.oracle.operators import RULES, Array
from lampq_tvm.quantize.operators.product import QProduct


@RULES.register(QProduct)
def product(op: QProduct, t: dict[str, Array], x: list[Array]) -> Array:
    """A product and its epilogue."""
    acc = ops.half_sums(x[0], t["w"]) if op.w.is_float else ops.product_acc(x[0], t["w"])
    if op.epilogue == "residual":
        return ops.residual(x[1], acc, t["S"], t["B"])
    if op.epilogue == "float":
        return ops.float_out(acc, t["S"], t["B"])
    assert op.encode is not None
    if op.epilogue == "act":
        codes = ops.activated(acc.astype(np.float32), t["S"], t["B"], op.act, t["affine"], op.encode.grid)
    else:
        codes = ops.requantize(acc, t["M"], t["B"], op.encode.grid)
    return ops.stored(codes, op.encode, t)
