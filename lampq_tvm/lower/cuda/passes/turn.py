"""q and k are turned by the product that gives them, where partners are neighbours."""

from __future__ import annotations

import numpy as np

from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.groups import Group, joined
from lampq_tvm.quantize.model import QProduct, QRotary


def turn(c: CudaContext) -> tuple[Group, ...]:
    """Join to a product the rotation of neighbours that alone reads it; the product gives codes then."""
    groups = c.groups
    for op in c.ops:
        rotary = c.only_reader(op.name) if isinstance(op, QProduct) and op.epilogue == "float" else None
        if not isinstance(rotary, QRotary) or rotary.encode.table is not None:
            continue
        if np.array_equal(c.tensors[f"{rotary.name}.partner"], np.arange(rotary.head_dim) ^ 1):
            groups = joined(groups, op.name, after=(rotary,))
    return groups
