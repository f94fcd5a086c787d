"""The mean of two classifiers."""

from __future__ import annotations

from lampq_tvm.kernels.elementwise import build_average
from lampq_tvm.lower.context import Context
from lampq_tvm.lower.kernel import Arguments, Call
from lampq_tvm.lower.operators import RULES
from lampq_tvm.quantize.operators.average_heads import QAverageHeads


@RULES.register(QAverageHeads)
def lower_average(op: QAverageHeads, c: Context) -> list[Call]:
    """Mean of two classifiers."""
    a, b = op.inputs
    rows, channels = c.rows(a), c.channels(a)
    arguments = Arguments().value(a).value(b)
    name = f"average_r{rows}_c{channels}"
    return [arguments.call(name, lambda: build_average(rows, channels, c.isa), op.name, (rows, channels), "float32")]
