"""ONNX's gathering, scattering, ordering and reducing in torch: as `frontend.onnx.ops`, which has all others."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lampq_tvm.frontend.onnx.inputs import Attributes, Inputs, Rule, axes_of, ints, option, refuse


def reduced(function: Callable[[Tensor, list[int], bool], Tensor]) -> Rule:
    """A reduction over axes; over all of them, or none, where none are given."""

    def rule(x: Inputs, a: Attributes) -> Tensor:
        source, axes = torch.as_tensor(x[0]), axes_of(x, a)
        if not axes and a.get("noop_with_empty_axes", 0):
            return function(source.unsqueeze(-1), [-1], False)
        return function(source, axes or list(range(source.ndim)), bool(a.get("keepdims", 1)))

    return rule


def product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """Over one axis after the other, the last one first."""
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def chosen(function: Callable[..., Tensor]) -> Rule:
    """The place of the largest or the least along an axis."""

    def rule(x: Inputs, a: Attributes) -> Tensor:
        if a.get("select_last_index", 0):
            refuse("ArgMax", "of the last of equal ones")
        return function(x[0], a.get("axis", 0), bool(a.get("keepdims", 1)))

    return rule


def top(x: Inputs, a: Attributes) -> list[Tensor]:
    """The first k of the sorted axis, and where they were."""
    (k,) = ints(x[1])
    found = torch.topk(x[0], k, a.get("axis", -1), bool(a.get("largest", 1)))
    return [found.values, found.indices]


def cumulated(x: Inputs, a: Attributes) -> Tensor:
    """Sums of all up to each."""
    if a.get("exclusive", 0) or a.get("reverse", 0):
        refuse("CumSum", "that is exclusive or reversed")
    return torch.cumsum(x[0], ints(x[1])[0])


def gather_elements(x: Inputs, a: Attributes) -> Tensor:
    """One element for each index of the input's own rank."""
    source, at = torch.as_tensor(x[0]), torch.as_tensor(x[1])
    axis = a.get("axis", 0)
    return torch.gather(source, axis, torch.where(at < 0, at + source.shape[axis], at))


def gather_nd(x: Inputs, a: Attributes) -> Tensor:
    """Slices by tuples of indices, which stand along the last axis."""
    source, at = torch.as_tensor(x[0]), torch.as_tensor(x[1])
    ahead = a.get("batch_dims", 0)
    rows = [torch.arange(n).view([-1 if i == j else 1 for j in range(at.ndim - 1)]) for i, n in enumerate(source.shape[:ahead])]
    return source[(*rows, *at.unbind(-1))]


def scatter_elements(x: Inputs, a: Attributes) -> Tensor:
    """Elements put, or added, where indices of the input's own rank say."""
    source, at, given = (torch.as_tensor(v) for v in x[:3])
    axis, how = a.get("axis", 0), a.get("reduction", "none")
    places = torch.where(at < 0, at + source.shape[axis], at)
    if how not in ("none", "add"):
        refuse("ScatterElements", f"with reduction {how}")
    return source.scatter(axis, places, given) if how == "none" else source.scatter_add(axis, places, given)


def scatter_nd(x: Inputs, a: Attributes) -> Tensor:
    """Slices put, or added, where tuples of indices say."""
    source, at, given = (torch.as_tensor(v) for v in x[:3])
    how = a.get("reduction", "none")
    if how not in ("none", "add"):
        refuse("ScatterND", f"with reduction {how}")
    return source.index_put(at.unbind(-1), given, accumulate=how == "add")


def one_hot(x: Inputs, a: Attributes) -> Tensor:
    """Two values, the second one where an index is."""
    (depth,), axis = ints(x[1]), a.get("axis", -1)
    off, on = torch.as_tensor(x[2]).unbind()
    at = torch.as_tensor(x[0]).long()
    inside = ((at >= -depth) & (at < depth)).unsqueeze(-1)  # others have no place
    here = torch.nn.functional.one_hot(at % depth, depth).bool() & inside
    return torch.where(here, on, off).movedim(-1, axis)


def triangle(x: Inputs, a: Attributes) -> Tensor:
    """The upper or the lower triangle."""
    by = 0 if option(x, 1) is None else ints(x[1])[0]
    return torch.triu(x[0], by) if a.get("upper", 1) else torch.tril(x[0], by)


RULES: dict[str, Rule] = {
    "ArgMax": chosen(torch.argmax),
    "ArgMin": chosen(torch.argmin),
    "CumSum": cumulated,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "OneHot": one_hot,
    "ReduceL1": reduced(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceL2": reduced(lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep)),
    "ReduceLogSumExp": reduced(lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep)),
    "ReduceMax": reduced(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMean": reduced(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMin": reduced(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceProd": reduced(product),
    "ReduceSum": reduced(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceSumSquare": reduced(lambda x, axes, keep: x.square().sum(axes, keepdim=keep)),
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "TopK": top,
    "Trilu": triangle,
}
