"""ONNX operators in torch: one short function each, of (inputs, attributes).

Semantics: the ONNX operator specification, opsets 11 and up.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lampq_tvm.frontend.onnx import layers, places
from lampq_tvm.frontend.onnx.inputs import Attributes, Inputs, Rule, axes_of, ints, option, refuse

PER_AXIS = 13  # opset from which a softmax runs over one axis
# TensorProto data types: float, int32, int64, bool, float16 (computed in float32), double.
TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float32, 11: torch.float64}


def reshape(x: Inputs, a: Attributes) -> Tensor:
    """0 keeps an axis unless allowzero."""
    shape = ints(x[1])
    if not a.get("allowzero", 0):
        shape = [x[0].shape[i] if size == 0 else size for i, size in enumerate(shape)]
    return torch.reshape(x[0], shape)


def cut(x: Inputs, a: Attributes) -> Tensor:
    """Slice by starts, ends, axes and steps."""
    starts, ends = ints(x[1]), ints(x[2])
    axes = ints(x[3]) if option(x, 3) is not None else list(range(len(starts)))
    steps = ints(x[4]) if option(x, 4) is not None else [1] * len(starts)
    out: Tensor = x[0]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        picked = range(*slice(start, end, step).indices(out.shape[axis]))
        contiguous = picked.step == 1
        out = out.narrow(axis, picked.start, len(picked)) if contiguous else out.index_select(axis, torch.tensor(list(picked)))
    return out


def pad(x: Inputs, a: Attributes) -> Tensor:
    """Padding with a constant."""
    pads, rank = ints(x[1]), x[0].ndim
    axes = ints(x[3]) if option(x, 3) is not None else list(range(rank))
    sizes = [0] * (2 * rank)
    for i, axis in enumerate(axes):
        place = 2 * (rank - 1 - axis % rank)
        sizes[place : place + 2] = pads[i], pads[i + len(axes)]
    if a.get("mode", "constant") != "constant":
        refuse("Pad", f"of mode {a['mode']}")
    return F.pad(x[0], sizes, value=_value(option(x, 2))) if any(sizes) else x[0]


def _value(given: Any) -> float:
    """A number that may stand in a list, zero where it is left out."""
    found = torch.as_tensor(0.0 if given is None else given).flatten()
    return float(found[0])


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
    sizes = a.get("split") or (ints(x[1]) if option(x, 1) is not None else None)
    if sizes is None:
        sizes = math.ceil(x[0].shape[axis] / a["outputs"])
    return list(torch.split(x[0], sizes, axis))


def squeeze(x: Inputs, a: Attributes) -> Tensor:
    """Drop axes of length one."""
    axes = axes_of(x, a)
    axes = [i for i, size in enumerate(x[0].shape) if size == 1] if axes is None else axes
    out: Tensor = x[0]
    for axis in sorted((axis % x[0].ndim for axis in axes), reverse=True):
        out = torch.squeeze(out, axis)
    return out


def unsqueeze(x: Inputs, a: Attributes) -> Tensor:
    """Add axes of length one, counted in the result."""
    axes = axes_of(x, a) or []
    out: Tensor = torch.as_tensor(x[0])
    rank = out.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        out = torch.unsqueeze(out, axis)
    return out


def _over_axis(name: str, function: Callable[[Tensor, int], Tensor]) -> Rule:
    """Over one axis; before opset 13 over all axes from `axis` on, which is the same for the last one."""

    def rule(x: Inputs, a: Attributes) -> Tensor:
        axis = a.get("axis", -1 if a["opset"] >= PER_AXIS else 1)
        if a["opset"] < PER_AXIS and axis not in (-1, x[0].ndim - 1):
            refuse(name, "over several axes")
        return function(x[0], axis)

    return rule


def layer_norm(x: Inputs, a: Attributes) -> Tensor:
    """Over the axes from `axis` on."""
    axis = a.get("axis", -1) % x[0].ndim
    return F.layer_norm(x[0], x[0].shape[axis:], x[1], option(x, 2), a.get("epsilon", 1e-5))


def gemm(x: Inputs, a: Attributes) -> Tensor:
    """alpha A B + beta C, as a linear layer."""
    left = x[0].t() if a.get("transA", 0) else x[0]
    weight = x[1] if a.get("transB", 0) else x[1].t()
    bias, alpha, beta = option(x, 2), a.get("alpha", 1.0), a.get("beta", 1.0)
    if isinstance(bias, Tensor) and bias.ndim == 2 and len(bias) == 1:
        bias = bias[0]
    bias = torch.as_tensor(bias).expand(weight.shape[0]) * beta if bias is not None and beta != 1.0 else bias
    return F.linear(left, weight if alpha == 1.0 else weight * alpha, bias)


def cast(x: Inputs, a: Attributes) -> Tensor:
    """To another element type."""
    if a["to"] not in TYPES:
        refuse("Cast", f"to type {a['to']}")
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
    left, right = (torch.as_tensor(v) if isinstance(v, list) else v for v in x)
    left = left if isinstance(right, Tensor) else torch.as_tensor(left)
    whole = not any(torch.as_tensor(v).is_floating_point() for v in x)
    quotient: Tensor = torch.div(left, right, rounding_mode="trunc") if whole else left / right
    return quotient


def einsum(x: Inputs, a: Attributes) -> Tensor:
    """A sum over letters."""
    return torch.einsum(a["equation"].replace(" ", ""), *(torch.as_tensor(v) for v in x))


def infinite(x: Inputs, a: Attributes) -> Tensor:
    """Where a value is infinite, on one side or both."""
    high, low = torch.as_tensor(x[0]) == math.inf, torch.as_tensor(x[0]) == -math.inf
    return (high & bool(a.get("detect_positive", 1))) | (low & bool(a.get("detect_negative", 1)))


def hard_sigmoid(x: Inputs, a: Attributes) -> Tensor:
    """A slope between zero and one; torch's own where it is that, which is known as a function."""
    alpha, beta = a.get("alpha", 0.2), a.get("beta", 0.5)
    return F.hardsigmoid(x[0]) if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5 else torch.clamp(alpha * x[0] + beta, 0, 1)


def selu(x: Inputs, a: Attributes) -> Tensor:
    """gamma (max(x, 0) + alpha (exp(min(x, 0)) - 1))."""
    alpha, gamma = a.get("alpha", 1.67326319), a.get("gamma", 1.05070102)
    out: Tensor = gamma * F.elu(x[0], alpha)
    return out


def range_of(x: Inputs, a: Attributes) -> Tensor:
    """From a start to a limit by steps."""
    return torch.arange(*(v.item() if isinstance(v, Tensor) else v for v in x[:3]))


def clip(x: Inputs, a: Attributes) -> Tensor:
    """Between two constants, either of which may be left out."""
    low, high = option(x, 1), option(x, 2)
    return x[0] if low is None and high is None else torch.clamp(x[0], min=low, max=high)


def _two(function: Callable[[Any, Any], Any]) -> Rule:
    """Of two inputs, at least one of which is a tensor then; a list is one too."""

    def rule(x: Inputs, a: Attributes) -> Any:
        second = torch.as_tensor(x[1]) if isinstance(x[1], list) else x[1]
        return function(x[0] if isinstance(second, Tensor) and not isinstance(x[0], list) else torch.as_tensor(x[0]), second)

    return rule


def _one(function: Callable[[Any], Any]) -> Rule:
    return lambda x, a: function(torch.as_tensor(x[0]))


RULES: dict[str, Rule] = {
    "Add": _two(lambda p, q: p + q),
    "Sub": _two(lambda p, q: p - q),
    "Mul": _two(lambda p, q: p * q),
    "Div": divide,
    "Pow": _two(lambda p, q: p**q),
    "Mod": lambda x, a: (torch.fmod if a.get("fmod", 0) else torch.remainder)(torch.as_tensor(x[0]), torch.as_tensor(x[1])),
    "Equal": _two(lambda p, q: torch.eq(torch.as_tensor(p), torch.as_tensor(q))),
    "Less": _two(lambda p, q: p < q),
    "Greater": _two(lambda p, q: p > q),
    "GreaterOrEqual": _two(lambda p, q: p >= q),
    "LessOrEqual": _two(lambda p, q: p <= q),
    "Xor": _two(lambda p, q: torch.logical_xor(torch.as_tensor(p), torch.as_tensor(q))),
    "Sqrt": _one(torch.sqrt),
    "Reciprocal": _one(torch.reciprocal),
    "Neg": _one(torch.neg),
    "Exp": _one(torch.exp),
    "Erf": _one(torch.erf),
    "Tanh": _one(torch.tanh),
    "Sigmoid": _one(torch.sigmoid),
    "Relu": _one(torch.relu),
    "HardSwish": _one(F.hardswish),
    "HardSigmoid": hard_sigmoid,
    "Elu": lambda x, a: F.elu(x[0], a.get("alpha", 1.0)),
    "Celu": lambda x, a: F.celu(x[0], a.get("alpha", 1.0)),
    "Selu": selu,
    "LeakyRelu": lambda x, a: F.leaky_relu(x[0], a.get("alpha", 0.01)),
    "PRelu": lambda x, a: torch.where(x[0] >= 0, x[0], x[0] * x[1]),
    "Softplus": _one(F.softplus),
    "Softsign": _one(F.softsign),
    "Mish": _one(F.mish),
    "Abs": _one(torch.abs),
    "Sign": _one(torch.sign),
    "Round": _one(torch.round),
    "Log": _one(torch.log),
    "Sin": _one(torch.sin),
    "Cos": _one(torch.cos),
    "Atan": _one(torch.atan),
    "IsNaN": _one(torch.isnan),
    "IsInf": infinite,
    "Einsum": einsum,
    "LogSoftmax": _over_axis("LogSoftmax", F.log_softmax),
    "LpNormalization": lambda x, a: F.normalize(x[0], a.get("p", 2), a.get("axis", -1), eps=0.0),
    "Size": lambda x, a: torch.tensor(torch.as_tensor(x[0]).numel()),
    "Floor": _one(torch.floor),
    "Ceil": _one(torch.ceil),
    "Not": _one(torch.logical_not),
    "Gelu": lambda x, a: F.gelu(x[0], approximate=a.get("approximate", "none")),
    "Swish": lambda x, a: x[0] * torch.sigmoid(x[0] * a.get("alpha", 1.0)),
    "MatMul": lambda x, a: torch.matmul(x[0], x[1]),
    "Gemm": gemm,
    "LayerNormalization": layer_norm,
    "Softmax": _over_axis("Softmax", torch.softmax),
    "Reshape": reshape,
    "Flatten": flatten,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Concat": lambda x, a: torch.cat([torch.as_tensor(v) for v in x], a["axis"]),
    "Slice": cut,
    "Pad": pad,
    "Clip": clip,
    "And": _two(lambda p, q: torch.logical_and(torch.as_tensor(p), torch.as_tensor(q))),
    "Or": _two(lambda p, q: torch.logical_or(torch.as_tensor(p), torch.as_tensor(q))),
    "Max": lambda x, a: functools.reduce(torch.maximum, map(torch.as_tensor, x)),
    "Min": lambda x, a: functools.reduce(torch.minimum, map(torch.as_tensor, x)),
    "Sum": lambda x, a: functools.reduce(torch.add, map(torch.as_tensor, x)),
    "Split": split,
    "Gather": gather,
    "Expand": expand,
    "Tile": lambda x, a: x[0].repeat(ints(x[1])),
    "Shape": lambda x, a: torch.tensor(list(x[0].shape)[a.get("start", 0) : a.get("end")], dtype=torch.int64),
    "Range": range_of,
    "ConstantOfShape": constant_of_shape,
    "Where": lambda x, a: torch.where(torch.as_tensor(x[0]), torch.as_tensor(x[1]), torch.as_tensor(x[2])),
    "Cast": cast,
    "Identity": lambda x, a: x[0],
    "Dropout": lambda x, a: x[0],
    **layers.RULES,
    **places.RULES,
}
