"""Recognition of elementwise arithmetic: biases, LayerScale, residual additions, activation functions, head averages."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lampq_tvm.frontend.abstract import GRID, KNOWN, Curve, Elements, HeadSum, Known, Scores, Statistic
from lampq_tvm.frontend.execute import UNARY
from lampq_tvm.frontend.model import Activation, AverageHeads, LayerNorm, Linear, Residual
from lampq_tvm.frontend.refusals import POSITION_BIAS
from lampq_tvm.frontend.rules_norm import divide_statistic, multiply_statistics
from lampq_tvm.frontend.trace import Base, Trace, parent, per_channel

CURVE_TOLERANCE = 1e-5


def add(trace: Trace, a: Any, b: Any, alpha: float = 1) -> Any:
    """a + alpha * b."""
    b = multiply(trace, b, alpha) if alpha != 1 else b
    if not isinstance(a, KNOWN):
        a, b = b, a
    if not isinstance(b, KNOWN):
        return _add_constant(trace, a, b)
    if isinstance(a, Scores) or isinstance(b, Scores):
        trace.refuse(POSITION_BIAS)
    if _same_elements(a, b):
        first, second = to_curve(trace, a), to_curve(trace, b)
        return Curve(first.ids, first.samples + second.samples)
    if isinstance(a, Elements) and isinstance(b, Elements):
        return _residual(trace, a, b)
    return trace.refuse("this sum of two computed values")


def subtract(trace: Trace, a: Any, b: Any, alpha: float = 1) -> Any:
    """a - alpha * b; x minus its mean starts a LayerNorm."""
    if isinstance(b, Statistic):
        if alpha == 1 and isinstance(a, Elements) and b.kind == "mean" and torch.equal(trace.tokens(a).elements.ids, b.ids):
            return Statistic("centred", b.ids)
        return trace.refuse("this difference of computed values")
    return add(trace, a, multiply(trace, b, -alpha))


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
    if _same_elements(a, b):
        first, second = to_curve(trace, a), to_curve(trace, b)
        return Curve(first.ids, first.samples * second.samples)
    return trace.refuse("a product of two computed values (gated MLP such as SwiGLU, or data-dependent scaling)")


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


def unary(trace: Trace, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Any function of one number, followed by its values on the grid."""
    target: Any = trace.node.target
    return Curve(x.ids, target(to_curve(trace, x).samples.clone(), *args, **kwargs))


def to_curve(trace: Trace, x: Any) -> Curve:
    """A value as a function of one element each."""
    if isinstance(x, Curve):
        return x
    if not isinstance(x, Elements):
        return trace.refuse("a function of this value")
    scale, offset = _number(x.scale), _number(x.offset)
    if scale is None or offset is None:
        return trace.refuse("an activation function of channels scaled or shifted one by one")
    return Curve(x.ids, GRID * scale + offset)


def activation(trace: Trace, x: Curve) -> Base:
    """The operator Activation that has this curve, emitted when it is read for the first time."""
    source = trace.tokens(Elements(x.ids))
    for kind, function in UNARY.items():
        if not torch.allclose(function(GRID), x.samples, rtol=0, atol=CURVE_TOLERANCE):
            continue
        if not isinstance(source.op, Linear):
            trace.refuse(f"the activation function {kind} on {source.name}")
        for base in trace.bases:
            if base.op == Activation(base.name, (source.name,), kind):
                return base
        return trace.emit(Activation(f"{parent(source.name)}.act", (source.name,), kind), source.shape)
    return trace.refuse(f"the function applied to {source.name} (none of {', '.join(UNARY)})")


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
    if isinstance(x, Statistic) and x.kind == "variance" and number is not None:
        return Statistic("variance", x.ids, x.eps + number)
    return trace.refuse(POSITION_BIAS if isinstance(x, Scores) else "this addition of a constant")


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
        return Scores(x.q, x.k, x.factor * number, False, x.leading)
    if number == 0.5 and isinstance(x, HeadSum):
        first, second = trace.tokens(x.first), trace.tokens(x.second)
        return trace.emit(AverageHeads("average", (first.name, second.name)), first.shape).elements
    if isinstance(x, Scores):
        return trace.refuse("attention scores scaled head by head (cosine attention)")
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
    """stream + branch, or the sum of two heads."""
    for x, branch in ((a, b), (b, a)):
        due = trace.patch is not None and trace.touches(x, trace.patch[0])
        stream = trace.tokens(x) if due else trace.whole(x)
        if stream is None or not trace.is_stream(stream):
            continue
        source = trace.whole(Elements(branch.ids))
        scale = per_channel(torch.as_tensor(branch.scale).expand(branch.shape))
        if source is None or not isinstance(source.op, Linear) or scale is None or branch.offset is not None:
            continue
        op = Residual(f"{parent(source.name)}.residual", (stream.name, source.name))
        return trace.emit(op, stream.shape, scale=scale).elements
    bases = [trace.whole(a), trace.whole(b)]
    if all(x is not None and isinstance(x.op, Linear) and len(x.shape) == 2 for x in bases):
        return HeadSum(a, b)
    if any(x is not None and isinstance(x.op, LayerNorm) for x in bases):
        trace.refuse("a LayerNorm on the residual stream itself (norm_pre or post-norm)")
    return trace.refuse("this sum of two computed values (parallel branches, or rotary position embedding)")
