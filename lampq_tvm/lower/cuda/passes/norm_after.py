"""A LayerNorm of a stream is made by the product that adds to the stream, as its rows are finished."""

from __future__ import annotations

from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.groups import Group, joined
from lampq_tvm.quantize.model import QLayerNorm, QProduct

MOST_CHANNELS = 1024  # of a LayerNorm behind a product, whose registers a lane's elements of a row would not fit


def norm_after(c: CudaContext) -> tuple[Group, ...]:
    """Join to a residual product the only LayerNorm to codes of its sum, unless its reader makes it."""
    groups = c.groups
    for op in c.ops:
        if not isinstance(op, QProduct) or op.epilogue != "residual" or c.shapes[op.name][-1] > MOST_CHANNELS:
            continue
        norms = [reader for reader in c.readers(op.name) if isinstance(reader, QLayerNorm)]
        if len(norms) == 1 and norms[0].encode.table is None and c.alone(norms[0].name):
            groups = joined(groups, op.name, after=(norms[0],))
    return groups
