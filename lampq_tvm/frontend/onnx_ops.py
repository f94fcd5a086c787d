"""ONNX operators in torch: one short function each, of (inputs, attributes).

Inputs are torch tensors, or Python numbers and lists where the importer knows them already; None for one left out.
Semantics: the ONNX operator specification, opsets 11 and up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lampq_tvm.errors import UnsupportedError

Inputs = Sequence[Any]
Attributes = Mapping[str, Any]
Rule = Callable[[Inputs, Attributes], Any]

# TensorProto data types: float, int32, int64, bool, float16, double.
TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64}


def ints(value: Any) -> list[int]:
    """A constant integer input as a list."""
    value = value.tolist() if isinstance(value, Tensor) else value
    return [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)]


def _option(x: Inputs, index: int) -> Any:
    return x[index] if len(x) > index else None


def _axes(x: Inputs, a: Attributes, index: int = 1) -> list[int] | None:
    """`axes`, an attribute in older opsets and an input in newer ones."""
    given = a.get("axes") if "axes" in a else _option(x, index)
    return None if given is None else ints(given)


def reshape(x: Inputs, a: Attributes) -> Tensor:
    """0 keeps an axis unless allowzero."""
    shape = ints(x[1])
    if not a.get("allowzero", 0):
        shape = [x[0].shape[i] if size == 0 else size for i, size in enumerate(shape)]
    return torch.reshape(x[0], shape)


def cut(x: Inputs, a: Attributes) -> Tensor:
    """Slice by starts, ends, axes and steps."""
    starts, ends = ints(x[1]), ints(x[2])
    axes = ints(x[3]) if _option(x, 3) is not None else list(range(len(starts)))
    steps = ints(x[4]) if _option(x, 4) is not None else [1] * len(starts)
    out: Tensor = x[0]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        picked = range(*slice(start, end, step).indices(out.shape[axis]))
        contiguous = picked.step == 1
        out = out.narrow(axis, picked.start, len(picked)) if contiguous else out.index_select(axis, torch.tensor(list(picked)))
    return out


def pad(x: Inputs, a: Attributes) -> Tensor:
    """Padding with a constant."""
    pads, rank = ints(x[1]), x[0].ndim
    axes = ints(x[3]) if _option(x, 3) is not None else list(range(rank))
    sizes = [0] * (2 * rank)
    for i, axis in enumerate(axes):
        place = 2 * (rank - 1 - axis % rank)
        sizes[place : place + 2] = pads[i], pads[i + len(axes)]
    if a.get("mode", "constant") != "constant":
        raise UnsupportedError(f"ONNX operator Pad of mode {a['mode']} is not supported")
    return F.pad(x[0], sizes, value=float(_option(x, 2) or 0.0)) if any(sizes) else x[0]


def gather(x: Inputs, a: Attributes) -> Tensor:
    """One index selects and drops the axis; several are picked in order."""
    axis, index = a.get("axis", 0), x[1].tolist() if isinstance(x[1], Tensor) else x[1]
    if isinstance(index, int):
        out: Tensor = torch.select(x[0], axis, index)
        return out
    where = torch.tensor(index)
    picked = torch.index_select(x[0], axis, where.flatten() % x[0].shape[axis])
    shape = list(x[0].shape)
    return picked.reshape(shape[:axis] + list(where.shape) + shape[axis % len(shape) + 1 :])


def split(x: Inputs, a: Attributes) -> list[Tensor]:
    """Into given sizes, or into as many equal parts as there are outputs."""
    axis = a.get("axis", 0)
    sizes = a.get("split") or (ints(x[1]) if _option(x, 1) is not None else None)
    if sizes is None:
        sizes = math.ceil(x[0].shape[axis] / a["outputs"])
    return list(torch.split(x[0], sizes, axis))


def squeeze(x: Inputs, a: Attributes) -> Tensor:
    """Drop axes of length one."""
    axes = _axes(x, a)
    axes = [i for i, size in enumerate(x[0].shape) if size == 1] if axes is None else axes
    out: Tensor = x[0]
    for axis in sorted((axis % x[0].ndim for axis in axes), reverse=True):
        out = torch.squeeze(out, axis)
    return out


def unsqueeze(x: Inputs, a: Attributes) -> Tensor:
    """Add axes of length one, counted in the result."""
    axes = _axes(x, a) or []
    out: Tensor = torch.as_tensor(x[0])
    rank = out.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        out = torch.unsqueeze(out, axis)
    return out


def reduce_mean(x: Inputs, a: Attributes) -> Tensor:
    """Mean over axes."""
    axes = _axes(x, a)
    return torch.mean(x[0], axes if axes else list(range(x[0].ndim)), keepdim=bool(a.get("keepdims", 1)))


def softmax(x: Inputs, a: Attributes) -> Tensor:
    """Over one axis; before opset 13 over all axes from `axis` on, which is the same for the last one."""
    axis = a.get("axis", -1 if a["opset"] >= 13 else 1)
    if a["opset"] < 13 and axis not in (-1, x[0].ndim - 1):
        raise UnsupportedError("ONNX operator Softmax over several axes is not supported")
    return torch.softmax(x[0], axis)


def layer_norm(x: Inputs, a: Attributes) -> Tensor:
    """Over the axes from `axis` on."""
    axis = a.get("axis", -1) % x[0].ndim
    return F.layer_norm(x[0], x[0].shape[axis:], x[1], _option(x, 2), a.get("epsilon", 1e-5))


def gemm(x: Inputs, a: Attributes) -> Tensor:
    """alpha A B + beta C, as a linear layer."""
    left = x[0].t() if a.get("transA", 0) else x[0]
    weight = x[1] if a.get("transB", 0) else x[1].t()
    bias, alpha, beta = _option(x, 2), a.get("alpha", 1.0), a.get("beta", 1.0)
    bias = torch.as_tensor(bias).expand(weight.shape[0]) * beta if bias is not None and beta != 1.0 else bias
    return F.linear(left, weight if alpha == 1.0 else weight * alpha, bias)


def convolution(x: Inputs, a: Attributes) -> Tensor:
    """Two-dimensional convolution."""
    pads = a.get("pads") or [0, 0, 0, 0]
    if a.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or x[1].ndim != 4 or pads[:2] != pads[2:]:
        raise UnsupportedError("ONNX operator Conv that is not two-dimensional with symmetric padding is not supported")
    options = (a.get("strides") or [1, 1], pads[:2], a.get("dilations") or [1, 1], a.get("group", 1))
    return torch.conv2d(x[0], x[1], _option(x, 2), *options)


def attention(x: Inputs, a: Attributes) -> Tensor:
    """ONNX opset 23's fused attention on [B, heads, T, head_dim] without mask or cache."""
    if any(v is not None for v in x[3:]) or a.get("is_causal", 0) or a.get("softcap", 0.0) or x[0].ndim != 4:
        raise UnsupportedError("ONNX operator Attention with a mask, a cache or fused heads is not supported")
    return F.scaled_dot_product_attention(x[0], x[1], x[2], scale=a.get("scale"))


def cast(x: Inputs, a: Attributes) -> Tensor:
    """To another element type."""
    if a["to"] not in TYPES:
        raise UnsupportedError(f"ONNX operator Cast to type {a['to']} is not supported")
    return torch.as_tensor(x[0]).to(TYPES[a["to"]])


def transpose(x: Inputs, a: Attributes) -> Tensor:
    """By `perm`, or all axes reversed."""
    order = a.get("perm") or list(reversed(range(x[0].ndim)))
    return torch.permute(x[0], order)


def constant_of_shape(x: Inputs, a: Attributes) -> Tensor:
    """A tensor full of one value."""
    value = a.get("value", torch.zeros(1))
    return torch.full(ints(x[0]), value.item(), dtype=value.dtype)


def expand(x: Inputs, a: Attributes) -> Tensor:
    """Broadcast both ways."""
    out: Tensor = x[0].expand(np.broadcast_shapes(tuple(x[0].shape), tuple(ints(x[1]))))
    return out


def flatten(x: Inputs, a: Attributes) -> Tensor:
    """To two axes."""
    axis = a.get("axis", 1)
    out: Tensor = x[0].reshape(math.prod(x[0].shape[:axis]), -1)
    return out


def divide(x: Inputs, a: Attributes) -> Tensor:
    """Integers divide without remainder."""
    left = x[0] if isinstance(x[1], Tensor) else torch.as_tensor(x[0])
    whole = not any(torch.as_tensor(v).is_floating_point() for v in x)
    quotient: Tensor = torch.div(left, x[1], rounding_mode="trunc") if whole else left / x[1]
    return quotient


def reduce_l2(x: Inputs, a: Attributes) -> Tensor:
    """Euclidean norm over axes."""
    out: Tensor = torch.linalg.vector_norm(x[0], dim=_axes(x, a), keepdim=bool(a.get("keepdims", 1)))
    return out


def clip(x: Inputs, a: Attributes) -> Tensor:
    """Between two constants, either of which may be left out."""
    return torch.clamp(x[0], min=_option(x, 1), max=_option(x, 2))


def _two(function: Callable[[Any, Any], Any]) -> Rule:
    return lambda x, a: function(x[0] if isinstance(x[1], Tensor) else torch.as_tensor(x[0]), x[1])


def _one(function: Callable[[Any], Any]) -> Rule:
    return lambda x, a: function(torch.as_tensor(x[0]))


RULES: dict[str, Rule] = {
    "Add": _two(lambda p, q: p + q),
    "Sub": _two(lambda p, q: p - q),
    "Mul": _two(lambda p, q: p * q),
    "Div": divide,
    "Pow": _two(lambda p, q: p**q),
    "Mod": _two(lambda p, q: p % q),
    "Equal": _two(lambda p, q: torch.eq(torch.as_tensor(p), torch.as_tensor(q))),
    "Less": _two(lambda p, q: p < q),
    "Greater": _two(lambda p, q: p > q),
    "Sqrt": _one(torch.sqrt),
    "Reciprocal": _one(torch.reciprocal),
    "Neg": _one(torch.neg),
    "Exp": _one(torch.exp),
    "Erf": _one(torch.erf),
    "Tanh": _one(torch.tanh),
    "Sigmoid": _one(torch.sigmoid),
    "Relu": _one(torch.relu),
    "HardSwish": _one(F.hardswish),
    "Floor": _one(torch.floor),
    "Ceil": _one(torch.ceil),
    "Not": _one(torch.logical_not),
    "Gelu": lambda x, a: F.gelu(x[0], approximate=a.get("approximate", "none")),
    "Swish": lambda x, a: x[0] * torch.sigmoid(x[0] * a.get("alpha", 1.0)),
    "MatMul": lambda x, a: torch.matmul(x[0], x[1]),
    "Gemm": gemm,
    "Conv": convolution,
    "LayerNormalization": layer_norm,
    "Softmax": softmax,
    "Attention": attention,
    "ReduceMean": reduce_mean,
    "Reshape": reshape,
    "Flatten": flatten,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Concat": lambda x, a: torch.cat([torch.as_tensor(v) for v in x], a["axis"]),
    "Slice": cut,
    "Pad": pad,
    "ReduceL2": reduce_l2,
    "Clip": clip,
    "And": _two(lambda p, q: torch.logical_and(torch.as_tensor(p), torch.as_tensor(q))),
    "Or": _two(lambda p, q: torch.logical_or(torch.as_tensor(p), torch.as_tensor(q))),
    "Max": _two(lambda p, q: torch.maximum(torch.as_tensor(p), torch.as_tensor(q))),
    "Min": _two(lambda p, q: torch.minimum(torch.as_tensor(p), torch.as_tensor(q))),
    "Split": split,
    "Gather": gather,
    "Expand": expand,
    "Tile": lambda x, a: x[0].repeat(ints(x[1])),
    "Shape": lambda x, a: torch.tensor(list(x[0].shape)[a.get("start", 0) : a.get("end")], dtype=torch.int64),
    "Range": lambda x, a: torch.arange(x[0].item(), x[1].item(), x[2].item()),
    "ConstantOfShape": constant_of_shape,
    "Where": lambda x, a: torch.where(torch.as_tensor(x[0]), torch.as_tensor(x[1]), torch.as_tensor(x[2])),
    "Cast": cast,
    "Identity": lambda x, a: x[0],
    "Dropout": lambda x, a: x[0],
}
