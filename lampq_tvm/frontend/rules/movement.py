"""Recognition of everything that only moves elements: views, permutations, splits, joins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lampq_tvm.frontend.abstract import KNOWN, NOTHING, Elements, Turned
from lampq_tvm.frontend.graph import operator
from lampq_tvm.frontend.rules import RULES
from lampq_tvm.frontend.trace import Trace

MOVES = frozenset(
    [
        "reshape",
        "view",
        "_unsafe_view",
        "view_as",
        "flatten",
        "unflatten",
        "transpose",
        "t",
        "permute",
        "swapaxes",
        "movedim",
        "numpy_T",
        "mT",
        "expand",
        "expand_as",
        "select",
        "slice",
        "narrow",
        "unbind",
        "split",
        "split_with_sizes",
        "chunk",
        "squeeze",
        "unsqueeze",
        "index_select",
        "index",
        "roll",
        "flip",
        "repeat",
    ]
)
# Element numbers need not lie in memory as the values do: where a view would fail on them, a reshape is the same.
VIEWS = {"view": torch.reshape, "_unsafe_view": torch.reshape, "view_as": torch.Tensor.reshape_as}
SAME = frozenset(
    ["contiguous", "clone", "alias", "detach", "lift_fresh_copy", "dropout", "native_dropout", "identity", "positive"]
)
CASTS = frozenset(["to", "_to_copy", "type_as", "float"])


@RULES.register(*MOVES)
def move(trace: Trace, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Apply the node's own operator to the element numbers."""
    target: Any = VIEWS.get(operator(trace.node), trace.node.target)
    if any(isinstance(a, KNOWN) for a in args):
        args = tuple(a.ids if isinstance(a, Elements) else a for a in args)
    moved = x.moved(lambda t: target(t, *args, **kwargs))
    if moved is NotImplemented:
        trace.refuse(f"{target.__name__} on attention scores or statistics")
    return moved


@RULES.register(*SAME)
def same(trace: Trace, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Operators that change nothing in evaluation mode."""
    training = args[1] if len(args) > 1 else kwargs.get("train", False)
    if "dropout" in str(trace.node.target) and training is True:
        trace.refuse("dropout in training mode")
    return [x, None] if "native_dropout" in str(trace.node.target) else x


@RULES.register("pad")
def pad(trace: Trace, x: Any, sizes: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """Padding with zeros: places without an element."""
    if not any(sizes):
        return x
    if mode != "constant" or value or not isinstance(x, Elements) or not x.plain or any(size < 0 for size in sizes):
        trace.refuse("this padding")
    return Elements(torch.nn.functional.pad(x.ids, list(sizes), value=NOTHING))


@RULES.register("constant_pad_nd")
def constant_pad(trace: Trace, x: Any, sizes: Sequence[int], value: float = 0) -> Any:
    """The decomposed form of padding."""
    return pad(trace, x, sizes, "constant", value)


@RULES.register(*CASTS)
def cast(trace: Trace, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Casts to float32 change nothing; others are refused."""
    meta = trace.node.meta.get("val")
    if not isinstance(meta, Tensor) or meta.dtype is not torch.float32:
        trace.refuse("computing in another type than float32")
    return x


@RULES.register("cat", "concat")
def concatenate(trace: Trace, parts: Sequence[Any], dim: int = 0) -> Any:
    """Join values; constants among them become elements-free entries with an offset."""
    if any(isinstance(p, Turned) for p in parts) and all(isinstance(p, (Turned, Elements)) for p in parts):
        still = [p if isinstance(p, Turned) else Turned(p, replace(p, scale=0.0)) for p in parts]
        if any(p.factor != 1.0 for p in still):
            trace.refuse("joining rotated values that are scaled")
        first, second = (concatenate(trace, [getattr(p, k) for p in still], dim) for k in ("first", "second"))
        return Turned(first, second)
    if not all(isinstance(p, (Elements, Tensor)) for p in parts):
        trace.refuse("joining activation or attention values")
    rows = [p if isinstance(p, Elements) else Elements(torch.full(p.shape, NOTHING), 1.0, p.float()) for p in parts]
    ids = torch.cat([r.ids for r in rows], dim)
    scale: float | Tensor = 1.0
    if any(isinstance(r.scale, Tensor) or r.scale != 1.0 for r in rows):
        scale = torch.cat([torch.as_tensor(r.scale).expand(r.shape) for r in rows], dim)
    offset = None
    if any(r.offset is not None for r in rows):
        offset = torch.cat([torch.zeros(r.shape) if r.offset is None else r.offset for r in rows], dim)
    return Elements(ids, scale, offset)


@RULES.register("stack")
def stack(trace: Trace, parts: Sequence[Any], dim: int = 0) -> Any:
    """Join values along a new axis."""
    if not all(isinstance(p, (Elements, Tensor)) for p in parts):
        trace.refuse("joining activation or attention values")
    rows = [p.moved(lambda t: t.unsqueeze(dim)) if isinstance(p, Elements) else p.unsqueeze(dim) for p in parts]
    return concatenate(trace, rows, dim)


@RULES.register("sym_size")
def size(trace: Trace, x: Any, dim: int) -> int:
    """The length of an axis."""
    return int(x.shape[dim])


@RULES.register("getitem")
def item(trace: Trace, x: Any, index: Any) -> Any:
    """One of several values."""
    return x[index]


@RULES.register("_assert_tensor_metadata")
def nothing(trace: Trace, *args: Any, **kwargs: Any) -> None:
    """What a check of the exporter's gives."""
