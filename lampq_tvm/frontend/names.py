"""What a node of an exported graph is called."""

from __future__ import annotations

import torch
from torch import fx


def operator(node: fx.Node) -> str:
    """An FX node's operator without namespace, overload and in-place mark: `add`, `scaled_dot_product_attention`."""
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target._schema.name.split("::")[-1].rstrip("_")
    return getattr(node.target, "__name__", str(node.target))
