"""Layer names for ONNX nodes: the module paths that exporters leave behind in one place or another."""

from __future__ import annotations

import ast
from typing import Any


def scope(node: Any, weight: str, shared: bool) -> str:
    """The path of the module that a node with weights came from, such as `blocks.0.attn.qkv`.

    Args:
        node: onnx.NodeProto; weight: name of its weight; shared: whether other nodes use the same weight.

    Returns:
        The weight's own path, else the path that torch's new exporter keeps in the metadata, else the one that its old
        exporter builds the node's name of, else the bias's path, else a name made of the operator and its output.
    """
    if weight.endswith(".weight") and not shared:
        return weight.removesuffix(".weight")
    for path in (_from_metadata(node), _from_node_name(node.name), *_from_bias(node)):
        if path:
            return path
    return f"{node.op_type.lower()}.{node.output[0]}"


def _from_metadata(node: Any) -> str:
    held = {p.key: p.value for p in getattr(node, "metadata_props", ())}
    try:
        scopes = ast.literal_eval(held.get("pkg.torch.onnx.name_scopes", "[]"))
    except (ValueError, SyntaxError):
        return ""
    return str(scopes[-2]) if isinstance(scopes, list) and len(scopes) > 1 else ""


def _from_node_name(name: str) -> str:
    """`/blocks/blocks.0/attn/qkv/MatMul` is `blocks.0.attn.qkv`: a list's own name is repeated by its members."""
    parts = name.strip("/").split("/")[:-1]
    kept = [p for p, after in zip(parts, [*parts[1:], ""], strict=False) if not after.startswith(f"{p}.")]
    return ".".join(kept) if name.startswith("/") else ""


def _from_bias(node: Any) -> list[str]:
    return [name.removesuffix(".bias") for name in node.input[2:3] if name.endswith(".bias")]
