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
        if node.op != "call_function" or operator(node) != LINEAR or not isinstance(node.args[0], fx.Node):
            continue
        order = _order(node.args[0])
        if order is None or order[0] == 0 or order[-1] != len(order) - 1:
            continue
        if node.args[0].args[0].meta["val"].shape[0] != images:  # type: ignore[union-attr]
            continue
        with graph.inserting_before(node):
            first = graph.node_copy(node, lambda n, node=node: node.args[0].args[0] if n is node.args[0] else n)
            first.meta["val"] = node.meta["val"].permute([order.index(i) for i in range(len(order))])
            turned = graph.call_function(torch.ops.aten.permute.default, (first, order))
            turned.meta = dict(node.meta)
        node.replace_all_uses_with(turned)
        graph.erase_node(node)


def _order(node: fx.Node) -> list[int] | None:
    """The axes that a node puts in another order; None where it does something else."""
    name, rank = operator(node) if node.op == "call_function" else "", getattr(node.meta.get("val"), "ndim", 0)
    if name == "permute":
        return [axis % rank for axis in node.args[1]]  # type: ignore[union-attr]
    if name == "transpose":
        order = list(range(rank))
        a, b = (int(axis) % rank for axis in node.args[1:3])  # type: ignore[arg-type]
        order[a], order[b] = order[b], order[a]
        return order
    return None
