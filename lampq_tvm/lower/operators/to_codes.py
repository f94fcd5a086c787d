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
    arguments = Arguments().value(source).arrays(f"{op.name}.affine").encode(op.name, op.encode)
    table = op.encode.table is not None
    name, shape = f"to_codes{'_table' if table else ''}_r{rows}_c{channels}", (rows, channels)
    return [arguments.call(name, lambda: build_to_codes(rows, channels, c.isa, table=table), op.name, shape, "int8")]
