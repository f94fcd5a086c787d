"""Matrix product of two computed values."""

from __future__ import annotations

import functools
import math

from lampq_tvm.kernels.matmul import MatMulShape, build_matmul
from lampq_tvm.lower.context import Context
from lampq_tvm.lower.kernel import Arguments, Call
from lampq_tvm.lower.operators import RULES
from lampq_tvm.quantize.operators.matmul import QMatMul


@RULES.register(QMatMul)
def lower_matmul(op: QMatMul, c: Context) -> list[Call]:
    """One kernel for all pairs of matrices."""
    a, b = op.inputs
    (*outer, rows, depth), columns = c.shapes[a], c.channels(op.name)
    shape = MatMulShape(c.batch * math.prod(outer), rows, columns, depth, op.transposed, op.zero)
    arguments = Arguments().value(a).value(b).arrays(f"{op.name}.S")
    return [arguments.call(shape.key, functools.partial(build_matmul, shape, c.isa), op.name, (c.rows(a), columns), "float32")]
