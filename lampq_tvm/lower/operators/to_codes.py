"""Float becomes codes."""

from __future__ import annotations

from lampq_tvm.kernels.elementwise import build_to_codes
from lampq_tvm.lower.context import Context
from lampq_tvm.lower.kernel import Arguments, Call
from lampq_tvm.lower.operators import RULES
from lampq_tvm.quantize.operators.to_codes import QToCodes


@RULES.register(QToCodes)
def lower_to_codes(op: QToCodes, c: Context) -> list[Call]:
    """Codes of a float value."""
    source = op.inputs[0]
    rows, channels = c.rows(source), c.channels(source)
    arguments = Arguments().value(source).arrays(f"{op.name}.affine").code_range(op.out_bits)
    name = f"to_codes_r{rows}_c{channels}"
    return [arguments.call(name, lambda: build_to_codes(rows, channels, c.isa), op.name, (rows, channels), "int8")]
