"""A gate gives codes itself where nothing else is wanted of it."""

from __future__ import annotations

from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.groups import Group, joined
from lampq_tvm.quantize.model import QGate, QToCodes


def gate_codes(c: CudaContext) -> tuple[Group, ...]:
    """Join to a gate the codes that alone read it."""
    groups = c.groups
    for op in c.ops:
        codes = c.only_reader(op.name) if isinstance(op, QGate) else None
        if isinstance(codes, QToCodes):
            groups = joined(groups, op.name, after=(codes,))
    return groups
