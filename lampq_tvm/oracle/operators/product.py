"""Products with weights and their epilogues."""

from __future__ import annotations

from lampq_tvm.oracle import ops
from lampq_tvm.oracle.operators import RULES, Array
from lampq_tvm.quantize.operators.product import QProduct


@RULES.register(QProduct)
def product(op: QProduct, t: dict[str, Array], x: list[Array]) -> Array:
    """A product and its epilogue."""
    if op.epilogue == "act":
        return ops.activated(ops.half_sums(x[0], t["w"]), t["S"], t["B"], op.act, t["affine"], op.out_bits)
    acc = ops.half_sums(x[0], t["w"]) if op.w_bits == ops.HALF_BITS else ops.product_acc(x[0], t["w"])
    if op.epilogue == "residual":
        return ops.residual(x[1], acc, t["S"], t["B"])
    if op.epilogue == "float":
        return ops.float_out(acc, t["S"], t["B"])
    codes = ops.requantize(acc, t["M"], t["B"], op.out_bits)
    return ops.apply_table(codes, t["table"]) if op.epilogue == "table" else codes
