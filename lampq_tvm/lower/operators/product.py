"""Products with weights and their epilogues."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lampq_tvm.kernels.isa import weight_peak
from lampq_tvm.kernels.shapes import ProductShape, padded
from lampq_tvm.kernels.tunable import ProductKernel
from lampq_tvm.lower.context import Context
from lampq_tvm.lower.kernel import Arguments, Call
from lampq_tvm.lower.operators import RULES
from lampq_tvm.quantize.operators.patch_embed import QPatchEmbed
from lampq_tvm.quantize.operators.product import QProduct


@RULES.register(QProduct)
def lower_product(op: QProduct, c: Context) -> list[Call]:
    """Product with its epilogue."""
    source, n, k = op.inputs[0], *c.tensors[f"{op.name}.w"].shape
    stream = op.inputs[1] if op.epilogue == "residual" else None

    def rest(arguments: Arguments) -> None:
        if stream is not None:
            arguments.value(stream)
        arguments.arrays(f"{op.name}.{'M' if op.epilogue == 'codes' else 'S'}", f"{op.name}.B")
        if op.encode is not None:
            arguments.encode(op.name, op.encode)

    shape = ProductShape(c.rows(source), n, k, op.finish)
    return [product_call(c, op, source, shape, op.a_bits, rest, stream)]


def product_call(
    c: Context,
    op: QProduct | QPatchEmbed,
    source: str,
    shape: ProductShape,
    a_bits: int,
    rest: Callable[[Arguments], object],
    stream: str | None = None,
) -> Call:
    """Call of a product kernel; `rest` adds the epilogue's arguments; the output may be written over the `stream`."""
    w_bits = op.multiplied.bits
    kernel = ProductKernel(shape, c.isa, w_bits, a_bits)
    dot = kernel.dot
    weights = op.weights([shape.n, shape.k])
    if int(np.abs(c.tensors[f"{op.name}.w"].astype(np.int16)).max(initial=0)) > weight_peak(w_bits):
        raise AssertionError(f"{op.name}: a weight beyond what {w_bits} bits hold")
    arguments = Arguments().value(source)
    arguments.recipe(**{"from": dot.layout, **weights, "padded": padded(shape, dot), "lanes": dot.lanes, "group": dot.group})
    if dot.shift:
        arguments.recipe(**{"from": "correction", **weights, "shift": dot.shift})
    rest(arguments)
    dtype = "int8" if shape.epilogue in ("codes", "table") else "float32"
    return arguments.call(*c.choose(kernel), op.name, (shape.rows, shape.n), dtype, stream)
