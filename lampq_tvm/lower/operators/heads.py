"""What happens to q and k before they become codes: lengths, rotary embedding."""

from __future__ import annotations

import functools
import zlib

from lampq_tvm.kernels.rotary import build_rotary
from lampq_tvm.kernels.unit_heads import build_unit_heads
from lampq_tvm.lower.context import Context
from lampq_tvm.lower.kernel import Arguments, Call
from lampq_tvm.lower.operators import RULES
from lampq_tvm.quantize.operators.heads import QRotary, QUnitHeads

_TABLE = {False: "", True: "_table"}  # part of a kernel's name


@RULES.register(QUnitHeads)
def lower_unit_heads(op: QUnitHeads, c: Context) -> list[Call]:
    """q and k over their lengths, to codes."""
    source = op.inputs[0]
    rows, channels = c.rows(source), c.channels(source)
    arguments = Arguments().value(source).arrays(f"{op.name}.inv").encode(op.name, op.encode)
    table = op.encode.table is not None
    name = f"unit_heads{_TABLE[table]}_r{rows}_h{op.heads}_d{op.head_dim}_e{op.eps!r}".replace("-", "m").replace(".", "p")
    build = functools.partial(build_unit_heads, rows, op.heads, op.head_dim, op.eps, c.isa, table=table)
    return [arguments.call(name, build, op.name, (rows, channels), "int8")]


@RULES.register(QRotary)
def lower_rotary(op: QRotary, c: Context) -> list[Call]:
    """q and k turned, to codes."""
    source, count = op.inputs[0], len(c.tensors[f"{op.name}.cos"])
    rows, channels = c.rows(source), c.channels(source)
    arguments = Arguments().value(source).arrays(*(f"{op.name}.{field}" for field in ("cos", "sin", "inv")))
    arguments.encode(op.name, op.encode)
    partner, table = tuple(c.tensors[f"{op.name}.partner"].tolist()), op.encode.table is not None
    name = f"rotary{_TABLE[table]}_r{rows}_t{count}_h{op.heads}_d{op.head_dim}_p{zlib.crc32(repr(partner).encode()):08x}"
    build = functools.partial(build_rotary, rows, count, op.heads, partner, c.isa, table=table)
    return [arguments.call(name, build, op.name, (rows, channels), "int8")]
