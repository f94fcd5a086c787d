"""Tokens in another order."""

from __future__ import annotations

import numpy as np

from lampq_tvm.kernels.cuda.regroup import RegroupShape, build_regroup
from lampq_tvm.kinds import Kind
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import Launch, array, builder
from lampq_tvm.lower.cuda.operators import RULES
from lampq_tvm.quantize.operators.regroup import QRegroup


@RULES.register(QRegroup)
def lower_regroup(op: QRegroup, c: CudaContext) -> list[Launch]:
    """Tokens in another order."""
    source, index = op.inputs[0], c.tensors[f"{op.name}.index"]
    channels, parts, taken = c.shapes[source][-1], index.shape[-1], int(np.prod(index.shape[:-1]))
    kind = Kind(c.values[source].dtype)
    out = c.add(op.name, "float32") if kind is Kind.FLOAT32 else c.coded(op.name, kind)
    sizes = RegroupShape(c.batch, op.rows, taken, parts, channels, kind.bits, Kind(out.dtype).bits)
    stored = {**array(f"{op.name}.index"), "shape": [taken, parts], "dtype": "int32"}
    params = {"index": stored, "fill": array(f"{op.name}.fill")}
    return [Launch(f"regroup_{sizes.key}", builder(build_regroup, sizes), {"x": source}, params, ("out", out))]
