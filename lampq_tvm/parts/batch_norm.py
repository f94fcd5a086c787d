"""A batch normalization right after a convolution is folded into its weights, in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lampq_tvm.network.operators.float_part import Node

CONVOLUTION = "aten.conv2d.default"
BATCH_NORM = "aten.batch_norm.default"


def folded(nodes: Sequence[Node], constants: Mapping[str, Tensor], inputs: int) -> tuple[list[Node], dict[str, Tensor]]:
    """Nodes and constants of the same part with `batch_norm` of a convolution that nobody else reads taken out.

    Args:
        inputs: how many values come before the first node's.
    """
    made, found = list(nodes), dict(constants)
    for i, node in enumerate(made):
        if node.target != BATCH_NORM:
            continue
        source = node.args[0].get("value", -1) - inputs
        convolution = made[source] if source >= 0 else None
        readers = [n for n in made if source + inputs in n.values]
        if convolution is None or convolution.target != CONVOLUTION or len(readers) != 1:
            continue
        made[source], fields = _scaled(convolution, node, found, f"f{i}")
        found |= fields
        made[i] = Node("aten.alias.default", ({"value": source + inputs},))
    return made, found


def _scaled(convolution: Node, norm: Node, constants: Mapping[str, Tensor], field: str) -> tuple[Node, dict[str, Tensor]]:
    """The convolution with the norm's factor and shift in its weights, and those.

    Arguments of the norm: x, weight, bias, mean, variance, training, momentum, eps.
    """

    def constant(argument: Any, otherwise: float) -> Tensor:
        return constants[argument["constant"]].double() if argument else torch.full_like(var, otherwise)

    var = constants[norm.args[4]["constant"]].double()
    mean, gamma, beta = (constant(norm.args[i], other) for i, other in ((3, 0.0), (1, 1.0), (2, 0.0)))
    factor = gamma / torch.sqrt(var + norm.args[7])
    args = list(convolution.args) + [None] * (3 - len(convolution.args))
    weight = constants[args[1]["constant"]].double() * factor.view(-1, 1, 1, 1)
    bias = (constant(args[2], 0.0) - mean) * factor + beta
    args[1:3] = [{"constant": f"{field}w"}, {"constant": f"{field}b"}]
    node = Node(convolution.target, tuple(args), convolution.kwargs)
    return node, {f"{field}w": weight.float(), f"{field}b": bias.float()}
