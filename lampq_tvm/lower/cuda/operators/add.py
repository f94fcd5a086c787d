"""The sum of two float values."""

from __future__ import annotations

from lampq_tvm.kernels.cuda import tokens
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import Launch, builder
from lampq_tvm.lower.cuda.operators import RULES
from lampq_tvm.quantize.model import QAdd, QAverageHeads


@RULES.register(QAdd)
def lower_add(op: QAdd, c: CudaContext) -> list[Launch]:
    """A stream and a branch."""
    return [sum_launch(op, c, half=False)]


def sum_launch(op: QAdd | QAverageHeads, c: CudaContext, *, half: bool) -> Launch:
    """Sum of two values, halved for two classifiers."""
    a, b = op.inputs
    rows, channels = c.rows(a), c.shapes[a][-1]
    out = c.add(op.name, "float32")
    name = f"{'average' if half else 'add'}_r{rows}_c{channels}"
    return Launch(name, builder(tokens.build_sum, rows, channels, half), {"a": a, "b": b}, {}, ("out", out))
