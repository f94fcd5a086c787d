"""Tokens in another order need no kernel where one product reads them: it takes its rows by their index."""

from __future__ import annotations

from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.groups import Group, joined
from lampq_tvm.quantize.model import QProduct, QRegroup


def gather(c: CudaContext) -> tuple[Group, ...]:
    """Join to a product the tokens in another order that it alone reads, if none is filled and none are put side by side."""
    groups = c.groups
    for op in c.ops:
        if not isinstance(op, QRegroup) or op.name in c.outputs:
            continue
        index, readers = c.tensors[f"{op.name}.index"], [reader for reader in c.ops if op.name in reader.inputs]
        alone = len(readers) == 1 and isinstance(readers[0], QProduct) and readers[0].inputs[0] == op.name
        if alone and index.shape[-1] == 1 and index.min() >= 0:
            groups = joined(groups, readers[0].name, before=(op,))
    return groups
