"""Operators of constants that no rule knows are computed by onnx's own reference evaluator, as far as they stay small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnx.shape_inference
import torch
from onnx import helper, numpy_helper
from torch import Tensor

from lampq_tvm.errors import UnsupportedError

# Those that take no more time and memory than their results.
CHEAP = {
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atanh",
    "BitShift",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "BlackmanWindow",
    "Cosh",
    "EyeLike",
    "HammingWindow",
    "HannWindow",
    "Hardmax",
    "LpPool",
    "Mean",
    "MeanVarianceNormalization",
    "Scatter",
    "Shrink",
    "Sinh",
    "Tan",
    "ThresholdedRelu",
    "Upsample",
}


def evaluated(node: Any, opset: int, inputs: Sequence[Tensor | None], limit_bytes: int) -> list[Tensor]:
    """What a node gives for constant inputs.

    Args:
        node: onnx.NodeProto; opset: that it is written in.
        inputs: None for one left out.
        limit_bytes: of all results.

    Raises:
        UnsupportedError: it is none of `CHEAP`, or how large its results are cannot be told before, or is more than the limit.
    """
    what = f"ONNX operator {node.op_type} is not supported"
    if node.op_type not in CHEAP:
        raise UnsupportedError(what)
    held = {name: x.numpy() for name, x in zip(node.input, inputs, strict=True) if name and x is not None}
    model = _model(node, opset, held)
    if not 0 <= _bytes(model) <= limit_bytes:
        raise UnsupportedError(f"{what} on constants of an unknown size")
    try:
        found = onnx.reference.ReferenceEvaluator(model).run(None, {})
    except Exception as e:  # it raises whatever its operators raise
        raise UnsupportedError(what) from e
    made = [torch.from_numpy(np.array(value)) for value in found]
    return [value.float() if value.dtype is torch.float16 else value for value in made]


def _model(node: Any, opset: int, held: dict[str, np.ndarray]) -> Any:
    """A model of one node."""
    constants = [numpy_helper.from_array(value, name) for name, value in held.items()]
    results = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "constants", [], results, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def _bytes(model: Any) -> int:
    """Of all results; -1 where that cannot be told."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    total = 0
    for value in inferred.graph.output:
        kind = value.type.tensor_type
        sizes = [d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim]
        if not kind.HasField("shape") or not kind.elem_type or min(sizes, default=0) < 0:
            return -1
        total += math.prod(sizes) * np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).itemsize
    return total
