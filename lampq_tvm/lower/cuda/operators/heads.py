"""What happens to q and k before they become codes: lengths, rotary embedding."""

from __future__ import annotations

from lampq_tvm.kernels.cuda import heads
from lampq_tvm.kinds import Kind
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import Launch, array, builder, encoded, text_of
from lampq_tvm.lower.cuda.operators import RULES
from lampq_tvm.quantize.operators.heads import QRotary, QUnitHeads


@RULES.register(QRotary)
def lower_rotary(op: QRotary, c: CudaContext) -> list[Launch]:
    """q and k turned, to codes."""
    source, count = op.inputs[0], len(c.tensors[f"{op.name}.cos"])
    out = c.coded(op.name, op.encode.stored)
    params = {name: array(f"{op.name}.{name}") for name in ("cos", "sin", "partner", "inv")}
    sizes, kind, table = (c.rows(source), count, op.heads, op.head_dim), Kind(out.dtype), op.encode.table is not None
    build = builder(heads.build_rotary, *sizes, kind, table=table)
    name = "rotary_" + "_".join(map(str, (*sizes, kind.bits))) + ("_table" if table else "")
    return [Launch(name, build, {"qkv": source}, params | encoded(op.name, op.encode), ("out", out))]


@RULES.register(QUnitHeads)
def lower_unit_heads(op: QUnitHeads, c: CudaContext) -> list[Launch]:
    """q and k over their lengths, to codes."""
    source = op.inputs[0]
    out = c.coded(op.name, op.encode.stored)
    rows, kind, table = c.rows(source), Kind(out.dtype), op.encode.table is not None
    name = f"unit_r{rows}_h{op.heads}x{op.head_dim}_o{kind.bits}_e{text_of(op.eps)}" + ("_table" if table else "")
    build = builder(heads.build_unit_heads, rows, op.heads, op.head_dim, op.eps, kind, table=table)
    return [Launch(name, build, {"qkv": source}, {"inv": array(f"{op.name}.inv")} | encoded(op.name, op.encode), ("out", out))]
