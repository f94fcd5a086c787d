"""The sum of two float values."""

from __future__ import annotations

from lampq_tvm.kernels.elementwise import build_add
from lampq_tvm.lower.context import Context
from lampq_tvm.lower.kernel import Arguments, Call
from lampq_tvm.lower.operators import RULES
from lampq_tvm.quantize.operators.add import QAdd


@RULES.register(QAdd)
def lower_add(op: QAdd, c: Context) -> list[Call]:
    """Stream and normalized branch."""
    a, b = op.inputs
    rows, channels = c.rows(a), c.channels(a)
    arguments, name = Arguments().value(a).value(b), f"add_r{rows}_c{channels}"
    return [arguments.call(name, lambda: build_add(rows, channels, c.isa), op.name, (rows, channels), "float32", a)]
