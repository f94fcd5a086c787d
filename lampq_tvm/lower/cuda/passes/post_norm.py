"""A branch's LayerNorm, the sum with the stream and the sum's codes are made by the branch's last product (post-norm)."""

from __future__ import annotations

from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.groups import Group, joined
from lampq_tvm.lower.cuda.passes.norm_after import MOST_CHANNELS
from lampq_tvm.quantize.model import QAdd, QFloatNorm, QProduct, QToCodes


def post_norm(c: CudaContext) -> tuple[Group, ...]:
    """Join to a product the LayerNorm that alone reads it, the sum that alone reads that, and the sum's codes if any."""
    groups, place = c.groups, {op.name: i for i, group in enumerate(c.groups) for op in group.ops}
    for op in c.ops:
        if not isinstance(op, QProduct) or op.epilogue != "float" or c.group(op.name).after:
            continue
        norm = c.only_reader(op.name)
        total = None if norm is None else c.only_reader(norm.name)
        if not isinstance(norm, QFloatNorm) or not isinstance(total, QAdd) or c.shapes[op.name][-1] > MOST_CHANNELS:
            continue
        stream, branch = total.inputs
        if branch == norm.name and place.get(stream, len(groups)) < place[op.name]:  # the stream is there before the product
            codes = [reader for reader in c.readers(total.name) if isinstance(reader, QToCodes) and reader.encode.table is None]
            groups = joined(groups, op.name, after=(norm, total, *(codes if len(codes) == 1 else ())))
    return groups
