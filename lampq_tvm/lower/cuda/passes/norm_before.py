"""A LayerNorm is made by the product that reads it, where few blocks would make the same rows again."""

from __future__ import annotations

import functools

from lampq_tvm.kernels.cuda.fits import product_fits
from lampq_tvm.kernels.cuda.tiles import default_tiles
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.groups import Group, joined
from lampq_tvm.quantize.model import QLayerNorm, QProduct
from lampq_tvm.targets.board import boards

REPEATED = 2  # blocks a multiprocessor that may make a LayerNorm again: so few work side by side, more would take turns


@functools.cache
def multiprocessors(arch: str) -> int:
    """Of the largest chip that `targets/` has of an architecture; none is known of others."""
    return max((board.gpu.sms for board in boards().values() if board.gpu and board.gpu.arch == arch), default=0)


def norm_before(c: CudaContext) -> tuple[Group, ...]:
    """Join a LayerNorm to codes to its only reader: a product of few blocks, whose shared memory holds their rows.

    Every block beside another makes the same rows again: on a chip that they do not fill that costs nothing.
    """
    groups = c.groups
    for norm in c.ops:
        if not isinstance(norm, QLayerNorm) or norm.encode.table is not None:
            continue
        reader = c.only_reader(norm.name)
        # Of its own stream, blocks would read whole rows that others are writing over.
        if not isinstance(reader, QProduct) or norm.inputs[0] in reader.inputs[1:]:
            continue
        shape, mma = c.product_shape(reader), c.mma(reader)
        few = default_tiles(shape, mma).blocks(shape.rows, shape.n) <= REPEATED * multiprocessors(c.arch)
        if few and product_fits(shape, mma, c.tiles(shape, mma, True), c.arch, normed=True):
            groups = joined(groups, reader.name, before=(norm,))
    return groups
