"""Codes become what a table says."""

from __future__ import annotations

from lampq_tvm.kernels.elementwise import build_look_up
from lampq_tvm.lower.context import Context
from lampq_tvm.lower.kernel import Arguments, Call
from lampq_tvm.lower.operators import RULES
from lampq_tvm.quantize.operators.look_up import QLookUp


@RULES.register(QLookUp)
def lower_look_up(op: QLookUp, c: Context) -> list[Call]:
    """One pass over the codes."""
    source = op.inputs[0]
    rows, channels = c.rows(source), c.channels(source)
    arguments, name = Arguments().value(source).arrays(f"{op.name}.table"), f"look_up_r{rows}_c{channels}"
    return [arguments.call(name, lambda: build_look_up(rows, channels, c.isa), op.name, (rows, channels), "int8")]
