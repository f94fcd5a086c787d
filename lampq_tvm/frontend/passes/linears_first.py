"""A linear layer of permuted rows is put before the permutation, where its input is an operator's own output.

Models with tokens along the first axis (torch's attention by default) turn their values right before the projection to q, k and
v. A linear layer works on each row alone, so the same numbers come out, in the order of images that integer operators work in.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from lampq_tvm.frontend.names import operator

LINEAR = "linear"


def linears_first(graph: fx.Graph, images: Any) -> None:
    """Rewrite linear(permute(x)) to permute(linear(x)), in place, where the permutation keeps the last axis, and takes the
    `images` from the first one.
    """
    for node in list(graph.nodes):
        turned = node.args[0] if node.op == "call_function" and operator(node) == LINEAR else None
        order = _order(turned) if isinstance(turned, fx.Node) else None
        if order is None or order[0] == 0 or order[-1] != len(order) - 1:
            continue
        rows: Any = turned.args[0]  # type: ignore[union-attr]
        if rows.meta["val"].shape[0] != images:
            continue
        with graph.inserting_before(node):
            first = graph.call_function(node.target, (rows, *node.args[1:]), node.kwargs)
            first.meta = dict(node.meta)
            first.meta["val"] = node.meta["val"].permute([order.index(i) for i in range(len(order))])
            after = graph.call_function(torch.ops.aten.permute.default, (first, order))
            after.meta = dict(node.meta)
        node.replace_all_uses_with(after)
        graph.erase_node(node)


def _order(node: fx.Node) -> list[int] | None:
    """The axes that a node puts in another order; None where it does something else."""
    if node.op != "call_function" or operator(node) not in ("permute", "transpose"):
        return None
    rank, axes = node.meta["val"].ndim, [*node.args[1:]]
    given: Any = axes[0] if operator(node) == "permute" else axes
    if operator(node) == "permute":
        return [axis % rank for axis in given]
    order = list(range(rank))
    a, b = (axis % rank for axis in given)
    order[a], order[b] = order[b], order[a]
    return order
