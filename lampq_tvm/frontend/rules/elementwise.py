"""Recognition of elementwise arithmetic: biases, LayerScale, residual additions, activation functions, head averages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lampq_tvm.frontend.abstract import GRID, KNOWN, Branches, Curve, Elements, Known, Scores, Statistic, Turned, Unit
from lampq_tvm.frontend.graph import operator
from lampq_tvm.frontend.rules import RULES
from lampq_tvm.frontend.rules.norm import divide_statistic, multiply_power, multiply_statistics
from lampq_tvm.frontend.trace import Base, Trace, parent, per_channel
from lampq_tvm.network.model import Activation, AverageHeads, Gate, LayerNorm, Linear, Residual
from lampq_tvm.network.unary import UNARY

CURVE_TOLERANCE = 1e-5
CURVES = (
    "gelu relu silu sigmoid tanh erf exp abs pow square sqrt rsqrt reciprocal hardswish hardsigmoid hardtanh relu6 mish elu "
    "leaky_relu softplus clamp clamp_min clamp_max"
)
GATED = "a product of two computed values (a gate other than activation(a) * b of linear layers, or data-dependent scaling)"


@RULES.register("add")
def add(trace: Trace, a: Any, b: Any, alpha: float = 1) -> Any:
    """a + alpha * b."""
    b = multiply(trace, b, alpha) if alpha != 1 else b
    if not isinstance(a, KNOWN):
        a, b = b, a
    if not isinstance(b, KNOWN):
        return _add_constant(trace, a, b)
    if _same_elements(a, b):
        first, second = to_curve(trace, a), to_curve(trace, b)
        return Curve(first.ids, first.samples + second.samples)
    if isinstance(a, Elements) and isinstance(b, Elements):
        if isinstance(a.scale, Tensor) and isinstance(b.scale, Tensor) and a.offset is None and b.offset is None:
            return Turned(a, b)
        return _residual(trace, a, b)
    for branches, x in ((a, b), (b, a)):
        if isinstance(branches, Branches) and isinstance(x, Elements):
            return _joined(trace, branches, x)
    return trace.refuse("this sum of two computed values")


@RULES.register("new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like")
def filled(trace: Trace, x: Any, *args: Any, **options: Any) -> Tensor:
    """A constant of the shape or the type of a computed value."""
    wanted, name = trace.node.meta["val"], operator(trace.node)
    number = 0 if "zeros" in name else 1 if "ones" in name else args[-1]
    shape = [int(n) if isinstance(n, int) else trace.batch for n in wanted.shape]
    return torch.full(shape, number, dtype=wanted.dtype)


@RULES.register("sub")
def subtract(trace: Trace, a: Any, b: Any, alpha: float = 1) -> Any:
    """a - alpha * b; x minus its mean starts a LayerNorm."""
    if isinstance(b, Statistic):
        if alpha == 1 and isinstance(a, Elements) and b.kind == "mean" and torch.equal(trace.tokens(a).elements.ids, b.ids):
            return Statistic("centred", b.ids)
        return trace.refuse("this difference of computed values")
    return add(trace, a, multiply(trace, b, -alpha))


@RULES.register("mul")
def multiply(trace: Trace, a: Any, b: Any) -> Any:
    """a * b."""
    if not isinstance(a, KNOWN):
        a, b = b, a
    if not isinstance(a, KNOWN):
        return a * b
    if not isinstance(b, KNOWN):
        return _multiply_constant(trace, a, b)
    if isinstance(a, Statistic) and isinstance(b, Statistic):
        return multiply_statistics(trace, a, b)
    for x, statistic in ((a, b), (b, a)):
        if isinstance(x, Elements) and isinstance(statistic, Statistic):
            return multiply_power(trace, x, statistic)
    if _same_elements(a, b):
        first, second = to_curve(trace, a), to_curve(trace, b)
        return Curve(first.ids, first.samples * second.samples)
    for gate, value in ((a, b), (b, a)):
        if isinstance(gate, Curve) and isinstance(value, Elements):
            return gated(trace, gate, value)
    return trace.refuse(GATED)


@RULES.register("rsub")
def subtract_from(trace: Trace, a: Any, b: Any, alpha: float = 1) -> Any:
    """b - alpha a."""
    return subtract(trace, b, multiply(trace, a, alpha))


@RULES.register("neg")
def negate(trace: Trace, x: Any) -> Any:
    """-x."""
    return multiply(trace, x, -1.0)


@RULES.register("div")
def divide(trace: Trace, a: Any, b: Any) -> Any:
    """a / b."""
    if isinstance(b, Statistic):
        return divide_statistic(trace, a, b)
    if isinstance(b, KNOWN):
        below = to_curve(trace, b) if not isinstance(a, Tensor) and isinstance(b, (Elements, Curve)) else None
        if below is not None and (_same_elements(a, b) or not isinstance(a, KNOWN)):
            above = to_curve(trace, a).samples if isinstance(a, KNOWN) else a
            return Curve(below.ids, above / below.samples)
        return trace.refuse("a division by computed values (cosine attention, or another normalization)")
    return multiply(trace, a, 1 / b)


@RULES.register(*CURVES.split())
def unary(trace: Trace, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Any function of one number, followed by its values on the grid."""
    target: Any = trace.node.target
    of = to_curve(trace, x)
    return Curve(of.ids, target(of.samples.clone(), *args, **kwargs))


def to_curve(trace: Trace, x: Any) -> Curve:
    """A value as a function of one element each."""
    if isinstance(x, Curve):
        return x
    if not isinstance(x, Elements):
        return trace.refuse("a function of this value")
    if trace.patch is not None and trace.touches(x, trace.patch[0]):
        x = trace.tokens(x).elements  # positions and class token are part of it
    scale, offset = _number(x.scale), _number(x.offset)
    if scale is None or offset is None:
        return trace.refuse("an activation function of channels scaled or shifted one by one")
    return Curve(x.ids, GRID * scale + offset)


def activation(trace: Trace, x: Curve) -> Base:
    """The operator Activation that has this curve, emitted when it is read for the first time."""
    source, kind = trace.tokens(Elements(x.ids)), curve_kind(x)
    if kind is None:
        return trace.refuse(f"the function applied to {source.name} (none of {', '.join(UNARY)})")
    if not isinstance(source.op, Linear):
        trace.refuse(f"the activation function {kind} on {source.name}")
    for base in trace.bases:
        if base.op == Activation(base.name, (source.name,), kind):
            return base
    return trace.emit(Activation(f"{parent(source.name)}.act", (source.name,), kind), source.shape)


def curve_kind(x: Curve) -> str | None:
    """Which of `UNARY` a curve is; None for none of them."""
    same = (k for k, f in UNARY.items() if torch.allclose(f(GRID), x.samples, rtol=0, atol=CURVE_TOLERANCE))
    return next(same, None)


def gated(trace: Trace, gate: Curve, value: Elements) -> Elements:
    """The operator Gate: an activation of some columns of a linear layer times columns of the same or another one."""
    kind, places = curve_kind(gate), [columns(trace, x) for x in (gate.ids, value.ids)]
    if kind is None or not value.plain or any(place is None for place in places):
        return trace.refuse(GATED)
    (first, gate_at), (second, value_at) = (place for place in places if place is not None)
    width = value.shape[-1]
    op = Gate(f"{parent(first.name)}.gate", (first.name, second.name), kind, gate_at, value_at, width)
    return Elements(trace.emit(op, (*first.shape[:-1], width)).elements.ids.reshape(value.shape))


def columns(trace: Trace, ids: Tensor) -> tuple[Base, int] | None:
    """(linear layer, first column) whose neighbouring columns of all tokens `ids` are; None if they are no such thing."""
    base = trace.base_of(ids)
    if base is None or not isinstance(base.op, Linear):
        return None
    rows, width = torch.Size(base.shape[:-1]).numel(), ids.shape[-1]
    first = int(ids.flatten()[0]) - base.start
    wanted = base.start + torch.arange(rows)[:, None] * base.shape[-1] + first + torch.arange(width)
    return (base, first) if torch.equal(ids.reshape(-1, width), wanted) else None


def read(trace: Trace, x: Any) -> Base:
    """The value that an operator reads when it reads `x`."""
    if isinstance(x, Elements):
        return trace.tokens(x)
    if isinstance(x, Curve):
        return activation(trace, x)
    return trace.refuse("this use of attention scores or statistics")


def _same_elements(a: Any, b: Any) -> bool:
    both = isinstance(a, (Elements, Curve)) and isinstance(b, (Elements, Curve))
    return both and a.shape == b.shape and torch.equal(a.ids, b.ids)


def _number(value: float | Tensor | None) -> float | None:
    """A tensor of one repeated number as that number (None counts as zero); None if it holds several."""
    if not isinstance(value, Tensor):
        return value or 0.0
    first = value.flatten()[0]
    return float(first) if bool((value == first).all()) else None


def _add_constant(trace: Trace, x: Known, c: Any) -> Any:
    if isinstance(x, Elements):
        c = torch.as_tensor(c, dtype=torch.float32)
        x, shape = _broadcast(x, c)
        return _fold(trace, Elements(x.ids, x.scale, c.expand(shape) if x.offset is None else x.offset + c))
    number = _constant_number(c)
    if isinstance(x, Curve) and number is not None:
        return Curve(x.ids, x.samples + number)
    if isinstance(x, Statistic) and x.kind in ("variance", "power") and number is not None:
        return replace(x, eps=x.eps + number)
    if isinstance(x, Scores) and not x.softmax and tuple(np.broadcast_shapes(x.shape, torch.as_tensor(c).shape)) == x.shape:
        bias = torch.as_tensor(c, dtype=torch.float32).expand(x.shape)
        return replace(x, bias=bias if x.bias is None else x.bias + bias)
    return trace.refuse("this addition of a constant")


def _multiply_constant(trace: Trace, x: Known, c: Any) -> Any:
    number = _constant_number(c)
    if isinstance(x, Elements):
        if number is not None:
            return _fold(trace, Elements(x.ids, x.scale * number, None if x.offset is None else x.offset * number))
        x, shape = _broadcast(x, c)
        return _fold(trace, Elements(x.ids, x.scale * c.expand(shape), None if x.offset is None else x.offset * c))
    if number is not None and isinstance(x, Curve):
        return Curve(x.ids, x.samples * number)
    if number is not None and isinstance(x, Scores) and not x.softmax:
        return replace(x, factor=x.factor * number, bias=None if x.bias is None else x.bias * number)
    if number == 0.5 and isinstance(x, Branches) and len(x.parts) == len(x.shape) == 2:
        first, second = map(trace.tokens, x.parts)
        return trace.emit(AverageHeads("average", (first.name, second.name)), first.shape).elements
    if isinstance(x, Branches):
        return Branches(tuple(_multiply_constant(trace, part, c) for part in x.parts))
    if number is not None and isinstance(x, (Unit, Turned)):
        return replace(x, factor=x.factor * number)
    if isinstance(x, Scores) and not x.softmax and x.bias is None:
        each = torch.as_tensor(c).expand(x.shape)
        if torch.equal(each, each[..., :1, :1].expand_as(each)):
            return replace(x, factor=x.factor * each[..., 0, 0])
    if isinstance(x, Scores):
        return trace.refuse("attention scores scaled one by one")
    return trace.refuse("this multiplication by a constant")


def _broadcast(x: Elements, c: Tensor) -> tuple[Elements, tuple[int, ...]]:
    """A value repeated to the shape that it has together with a constant."""
    shape = np.broadcast_shapes(x.shape, tuple(c.shape))
    wide: Elements = x.moved(lambda t: t.expand(shape))
    return wide, shape


def _constant_number(c: Any) -> float | None:
    if isinstance(c, Tensor):
        return float(c) if c.numel() == 1 else None
    return float(c)


def _fold(trace: Trace, x: Elements) -> Elements:
    """Put a per-channel factor or addend into the operator that computes `x` where that operator has a place for it."""
    base = trace.base_of(x.ids)
    if base is None or not isinstance(base.op, (Linear, LayerNorm)) or trace.is_read(base):
        return x
    if trace.whole(Elements(x.ids)) is None or (isinstance(base.op, Linear) and _number(x.scale) != 1.0):
        return x
    scale = per_channel(torch.as_tensor(x.scale).expand(x.shape))
    offset = per_channel(torch.zeros(x.shape) if x.offset is None else x.offset)
    if scale is None or offset is None:
        return x
    if isinstance(base.op, LayerNorm):
        trace.tensors[f"{base.name}.gamma"] = trace.tensors[f"{base.name}.gamma"] * scale
        trace.tensors[f"{base.name}.beta"] = trace.tensors[f"{base.name}.beta"] * scale + offset
    else:
        trace.tensors[f"{base.name}.bias"] = trace.tensors[f"{base.name}.bias"] + offset
    shape = x.shape
    moved: Elements = trace.rebase(base).elements.moved(lambda t: t.reshape(shape))
    return moved


def _residual(trace: Trace, a: Elements, b: Elements) -> Any:
    """stream + branch, or the sum of two branches."""
    for x, branch in ((a, b), (b, a)):
        stream = _stream(trace, x)
        found = None if stream is None else _added(trace, stream, branch, stream.name)
        if found is not None:
            return Elements(found.elements.ids.reshape(x.shape))
    bases = [trace.whole(Elements(x.ids)) for x in (a, b)]
    if a.shape == b.shape and all(x is not None and isinstance(x.op, Linear) and not trace.is_read(x) for x in bases):
        return Branches((a, b))
    return trace.refuse("this sum of two computed values (parallel branches, or rotary position embedding)")


def _joined(trace: Trace, branches: Branches, x: Elements) -> Any:
    """stream + branches, one after the other; or one branch more."""
    stream = _stream(trace, x)
    if stream is None or isinstance(stream.op, Linear):
        return Branches((*branches.parts, x))
    origin = stream.name
    for part in branches.parts:
        found = _added(trace, stream, part, origin)
        if found is None:
            return trace.refuse("this sum of parallel branches")
        stream = found
    return Elements(stream.elements.ids.reshape(x.shape))


def _stream(trace: Trace, x: Elements) -> Base | None:
    """The residual stream that a value is."""
    due = trace.patch is not None and trace.touches(x, trace.patch[0])
    stream = trace.tokens(x) if due else trace.whole(x)
    return stream if stream is not None and trace.is_stream(stream) else None


def _added(trace: Trace, stream: Base, branch: Elements, origin: str) -> Base | None:
    """The stream with a branch added to it, which starts from the value `origin`; None where it is no branch."""
    source = None if branch.offset is not None else _branch(trace, stream, branch, origin)
    scale = per_channel(torch.as_tensor(branch.scale).expand(branch.shape))
    if source is None or scale is None:
        return None
    return trace.emit(Residual(f"{parent(source.name)}.residual", (stream.name, source.name)), stream.shape, scale=scale)


def _branch(trace: Trace, stream: Base, branch: Elements, origin: str) -> Base | None:
    """The layer or norm whose output a residual branch is, its tokens put back in the order of the stream."""
    source = trace.base_of(branch.ids)
    if source is None or not isinstance(source.op, (Linear, LayerNorm)) or not trace.depends(source.name, origin):
        return None
    whole = trace.tokens(Elements(branch.ids))
    return whole if whole.shape == stream.shape else None
