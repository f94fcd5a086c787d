"""Tokens in another order."""

from __future__ import annotations

import numpy as np

from lampq_tvm.kernels.moves import build_regroup
from lampq_tvm.lower.context import Context
from lampq_tvm.lower.kernel import Arguments, Call
from lampq_tvm.lower.operators import RULES
from lampq_tvm.quantize.operators.regroup import QRegroup


@RULES.register(QRegroup)
def lower_regroup(op: QRegroup, c: Context) -> list[Call]:
    """Tokens in another order."""
    source, index = op.inputs[0], c.tensors[f"{op.name}.index"]
    channels, parts, taken = c.channels(source), index.shape[-1], int(np.prod(index.shape[:-1]))
    dtype = str(c.tensors[f"{op.name}.fill"].dtype)
    arguments = Arguments().value(source)
    stored = {"from": "array", "tensor": f"{op.name}.index", "shape": [taken, parts], "dtype": "int32"}
    arguments.recipe(**stored).arrays(f"{op.name}.fill")
    sizes = (c.batch, op.rows, taken, parts, channels, dtype)
    name = "regroup_" + "_".join(map(str, sizes))
    return [arguments.call(name, lambda: build_regroup(*sizes, c.isa), op.name, (c.batch * taken, parts * channels), dtype)]
