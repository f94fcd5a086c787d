"""The mean of two classifiers."""

from __future__ import annotations

from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import Launch
from lampq_tvm.lower.cuda.operators import RULES
from lampq_tvm.lower.cuda.operators.add import sum_launch
from lampq_tvm.quantize.operators.average_heads import QAverageHeads


@RULES.register(QAverageHeads)
def lower_average(op: QAverageHeads, c: CudaContext) -> list[Launch]:
    """A sum, halved."""
    return [sum_launch(op, c, half=True)]
