"""Blocks of an exported program that only set how torch works (`no_grad`, autocast that is off) are opened."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

SETTINGS = {"wrap_with_set_grad_enabled": 1, "wrap_with_autocast": 4}  # operator -> place of the block among its arguments
AUTOCAST_ON = 2


def open_blocks(module: torch.nn.Module, graph: fx.Graph) -> None:
    """Put the nodes of such blocks into the graph that they stand in, in place.

    Args:
        module: has the blocks as submodules.
        graph: the graph.
    """
    for node in list(graph.nodes):
        place = SETTINGS.get(getattr(node.target, "__name__", "")) if node.op == "call_function" else None
        if place is None or (place > AUTOCAST_ON and node.args[AUTOCAST_ON]):
            continue
        name: Any = node.args[place]
        block = getattr(module, name.target)
        inner = [n for n in block.graph.nodes if n.op == "placeholder"]
        with graph.inserting_before(node):
            results = graph.graph_copy(block.graph, dict(zip(inner, node.args[place + 1 :], strict=True)))
        for item in list(node.users):
            item.replace_all_uses_with(results[item.args[1]])  # type: ignore[index]
            graph.erase_node(item)
        graph.erase_node(node)
    graph.eliminate_dead_code()
