"""Recognition of LayerNorm, whole or written out, and of the mean over tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from lampq_tvm.frontend.abstract import GRID, Curve, Elements, Statistic, Unit
from lampq_tvm.frontend.graph import module_path, operator
from lampq_tvm.frontend.rules import RULES
from lampq_tvm.frontend.trace import Base, Trace
from lampq_tvm.network.model import Gate, LayerNorm, Linear, MeanTokens, TakeToken

# The steps of a LayerNorm written out: (what is done, kind before) -> kind after.
STEPS = {
    ("square", "centred"): "squares",
    ("mean", "squares"): "variance",
    ("sqrt", "variance"): "deviation",
    ("rsqrt", "variance"): "inverse",
    ("reciprocal", "deviation"): "inverse",
    ("sqrt", "power"): "root",
    ("rsqrt", "power"): "inverse_root",
    ("reciprocal", "root"): "inverse_root",
}


@RULES.register("layer_norm")
def layer_norm(
    trace: Trace,
    x: Any,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *unused: Any,
) -> Elements:
    """LayerNorm over the last axis."""
    if len(shape) != 1:
        trace.refuse("a LayerNorm over several axes")
    return _emit(trace, x, _name(trace), eps, weight, bias)


@RULES.register("rms_norm")
def rms_norm(trace: Trace, x: Any, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None) -> Elements:
    """RMSNorm over the last axis; without eps it is float32's."""
    if len(shape) != 1:
        trace.refuse("an RMSNorm over several axes")
    return _emit(trace, x, _name(trace), torch.finfo(torch.float32).eps if eps is None else eps, weight, None, centred=False)


def _name(trace: Trace) -> str:
    """That of the layer whose weights the node reads, else of the module that it stands in."""
    names = [arg for arg in trace.node.args[2:4] if isinstance(arg, fx.Node)]
    return trace.weight_name(names[0], "norm") if names else module_path(trace.node) or "norm"


@RULES.register("native_layer_norm")
def native_layer_norm(trace: Trace, *args: Any) -> tuple[Any, None, None]:
    """The decomposed form, which also returns mean and deviation."""
    return layer_norm(trace, *args), None, None


def _emit(
    trace: Trace, x: Any, name: str, eps: float, weight: Tensor | None, bias: Tensor | None, *, centred: bool = True
) -> Elements:
    if not isinstance(x, Elements):
        trace.refuse("a LayerNorm of an activation function's output (inside the MLP)")
    source = trace.base_of(x.ids)
    if source is not None and isinstance(source.op, Linear) and x.shape[-1] != source.shape[-1]:
        trace.refuse(f"a LayerNorm on a part of the output of {source.name} (normalization of q and k)")
    base = trace.tokens(x)
    if not trace.is_stream(base) and not isinstance(base.op, (TakeToken, MeanTokens, Gate)):
        trace.refuse(f"a LayerNorm on {base.name}")
    channels = base.shape[-1]
    gamma = torch.ones(channels) if weight is None else weight
    beta = torch.zeros(channels) if bias is None else bias
    norm = trace.emit(LayerNorm(name, (base.name,), float(eps), centred), base.shape, gamma=gamma, beta=beta)
    moved: Elements = norm.elements.moved(lambda t: t.reshape(x.shape))
    return moved


@RULES.register("mean")
def mean(trace: Trace, x: Any, dim: Any = None, keepdim: bool = False, **unused: Any) -> Any:
    """Mean over channels (a LayerNorm's first step) or over tokens (pooling)."""
    dims = [dim] if isinstance(dim, int) else list(dim or [])
    if isinstance(x, Statistic):
        return step(trace, "mean", x)
    if isinstance(x, Curve):
        return _power(trace, x, dims, keepdim)
    if isinstance(x, Elements) and len(x.shape) == 4 and sorted(dims) == [1, 2] and not keepdim:
        x, dims = x.moved(lambda t: t.flatten(1, 2)), [1]  # tokens [B, rows, columns, C]
    if not isinstance(x, Elements) or len(dims) != 1:
        return trace.refuse("this mean")
    axis = dims[0] % len(x.shape)
    if axis == len(x.shape) - 1 and keepdim:
        return Statistic("mean", trace.tokens(x).elements.ids)
    if axis == 1 and len(x.shape) == 3:
        pooled: Elements = _mean_tokens(trace, x).elements
        return pooled.moved(lambda t: t.unsqueeze(1)) if keepdim else pooled
    return trace.refuse(f"a mean over axis {axis}")


def _power(trace: Trace, x: Curve, dims: list[int], keepdim: bool) -> Statistic:
    """Mean of the squares of a token's channels, the first step of an RMSNorm written out."""
    eps = float(x.samples[len(GRID) // 2])  # at zero: some add it inside of the mean
    squares = eps >= 0 and torch.allclose(x.samples - eps, GRID**2, rtol=1e-9, atol=1e-12)
    if not squares or not keepdim or dims not in ([-1], [len(x.shape) - 1]):
        trace.refuse("this mean")
    return Statistic("power", x.ids, eps)


@RULES.register("adaptive_avg_pool1d", "adaptive_avg_pool2d")
def pool(trace: Trace, x: Any, size: Any) -> Elements:
    """Pooling of [B, C, ..] to one place: the mean of all tokens."""
    axes = 1 if operator(trace.node).endswith("1d") else 2
    sizes = [size] if isinstance(size, int) else list(size)
    if not isinstance(x, Elements) or len(x.shape) != 2 + axes or any(n != 1 for n in sizes):
        trace.refuse("average pooling of feature maps to more than one place")
    pooled: Elements = _mean_tokens(trace, x.moved(lambda t: t.flatten(2).transpose(1, 2))).elements
    return pooled.moved(lambda t: t.reshape(*x.shape[:2], *[1] * axes))  # type: ignore[no-any-return]


def _mean_tokens(trace: Trace, x: Elements) -> Base:
    if trace.patch is not None and trace.touches(x, trace.patch[0]):
        return trace.refuse("pooling before the first block")
    base = trace.base_of(x.ids)
    start = base.shape[1] - x.shape[1] if base is not None and len(base.shape) == 3 else -1
    if base is None or start < 0 or not x.plain or not torch.equal(base.elements.ids[:, start:], x.ids):
        return trace.refuse("pooling over these tokens")
    return trace.emit(MeanTokens(f"{base.name}.mean", (base.name,), start), (base.shape[0], base.shape[2]))


@RULES.register("linalg_vector_norm", "norm")
def vector_norm(trace: Trace, x: Any, order: float = 2, dim: Any = None, keepdim: bool = False, **unused: Any) -> Statistic:
    """Length of the vectors along the last axis."""
    axes = [dim] if isinstance(dim, int) else list(dim or [])
    if not isinstance(x, Elements) or not x.plain or order != 2 or not keepdim or axes not in ([-1], [len(x.shape) - 1]):
        trace.refuse("this norm of a vector")
    return Statistic("length", x.ids)


def step(trace: Trace, action: str, x: Statistic) -> Statistic:
    """The next step of a LayerNorm written out."""
    kind = STEPS.get((action, x.kind))
    return Statistic(kind, x.ids, x.eps) if kind else trace.refuse(f"{action} of a token's {x.kind}")


def multiply_statistics(trace: Trace, a: Statistic, b: Statistic) -> Any:
    """Centred times centred, or centred times the inverse deviation."""
    if not torch.equal(a.ids, b.ids):
        return trace.refuse("this product of statistics")
    if a.kind == b.kind == "centred":
        return step(trace, "square", a)
    if {a.kind, b.kind} == {"centred", "inverse"}:
        return _written_out(trace, a if a.kind == "inverse" else b)
    return trace.refuse("this product of statistics")


def multiply_power(trace: Trace, a: Elements, b: Statistic) -> Elements:
    """x times the inverse root of its power."""
    source = trace.tokens(a)
    if b.kind != "inverse_root" or not torch.equal(source.elements.ids.flatten(), b.ids.flatten()):
        trace.refuse("this product with a token's statistic")
    return _emit(trace, a, f"{source.name}.norm", b.eps, None, None, centred=False)


def divide_statistic(trace: Trace, a: Any, b: Statistic) -> Any:
    """Centred over the deviation, or one over the deviation."""
    if isinstance(a, Elements) and b.kind == "length" and a.plain and torch.equal(a.ids, b.ids):
        return Unit(a.ids, b.eps)
    if isinstance(a, Elements) and b.kind == "root":
        return multiply_power(trace, a, step(trace, "reciprocal", b))
    if isinstance(a, Statistic) and a.kind == "centred" and b.kind == "deviation" and torch.equal(a.ids, b.ids):
        return _written_out(trace, b)
    if not isinstance(a, (Elements, Statistic)) and float(a) == 1.0:
        return step(trace, "reciprocal", b)
    return trace.refuse("this division by a token's deviation")


def _written_out(trace: Trace, root: Statistic) -> Elements:
    """The LayerNorm that the steps make; gamma and beta follow as a product and a sum."""
    source = trace.base_of(root.ids)
    name = f"{source.name}.norm" if source else "norm"
    return _emit(trace, Elements(root.ids), name, root.eps, None, None)
