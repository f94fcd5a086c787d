"""A linear layer whose columns go to attention and to an MLP is taken apart: each part is a layer with a width of its own.

Parallel blocks compute both from one product, and split it into pieces that are not of one size. Pieces of one size (q, k and
v) stay together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from lampq_tvm.frontend.names import operator

SPLIT = "split_with_sizes"


def linears_apart(graph: fx.Graph) -> None:
    """Rewrite split(linear(x)) to linear layers of some rows of the weights each, in place."""
    for node in list(graph.nodes):
        linear: Any = node.args[0] if node.op == "call_function" and operator(node) == SPLIT else None
        if not isinstance(linear, fx.Node) or operator(linear) != "linear" or len(linear.users) != 1:
            continue
        sizes: Any = node.args[1]
        rank, axis = linear.meta["val"].ndim, node.args[2] if len(node.args) > 2 else 0
        pieces = {int(item.args[1]): item for item in node.users if operator(item) == "getitem"}
        if axis % rank != rank - 1 or len(set(sizes)) == 1 or len(pieces) != len(node.users):
            continue
        for i, item in sorted(pieces.items()):
            with graph.inserting_before(node):
                item.replace_all_uses_with(_rows(graph, linear, sum(sizes[:i]), sizes[i], item))
            graph.erase_node(item)
        graph.erase_node(node)
        graph.erase_node(linear)


def _rows(graph: fx.Graph, linear: fx.Node, first: int, count: int, piece: fx.Node) -> fx.Node:
    """The layer of some rows of a layer's weight and bias."""

    def taken(parameter: Any) -> Any:
        if not isinstance(parameter, fx.Node):
            return parameter
        part = graph.call_function(torch.ops.aten.slice.Tensor, (parameter, 0, first, first + count))
        part.meta = {**parameter.meta, "val": parameter.meta["val"][first : first + count]}
        return part

    x, *parameters = linear.args
    made = graph.call_function(torch.ops.aten.linear.default, (x, *map(taken, parameters)), linear.kwargs)
    made.meta = {**linear.meta, "val": piece.meta["val"]}
    return made
