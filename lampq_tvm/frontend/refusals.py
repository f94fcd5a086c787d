"""Operators that are known and not served, in words a user understands."""

from __future__ import annotations

from collections.abc import Iterator

from torch import fx

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.graph import Graph, module_path, operator

# Most telling first: an error names the first of these that a model contains, then the others.
WORDS = {
    "batch_norm": "batch normalization (batch_norm)",
    "_native_batch_norm_legit_no_training": "batch normalization (batch_norm)",
    "group_norm": "group normalization (group_norm)",
    "max_pool2d": "max pooling (max_pool2d)",
    "avg_pool2d": "average pooling of feature maps (avg_pool2d)",
    "sum": "a sum over an axis or of parallel branches (sum)",
    "upsample_bicubic2d": "resizing inside the network",
}


def words(node: fx.Node) -> str:
    """A node's operator for an error line."""
    name = operator(node)
    return WORDS.get(name, f"operator {name}")


def known_refusals(graph: Graph) -> list[tuple[str, str]]:
    """What stands in the way whatever is around it: (words, module of its first appearance), most telling first."""
    found: dict[str, str] = {}
    for node in graph.nodes:
        key = _key(graph, node) if node in graph.computed and node.op == "call_function" else ""
        if key:
            found.setdefault(key, module_path(node))
    rows = [(text, found[key]) for key, text in WORDS.items() if key in found]
    return list({text: (text, place) for text, place in reversed(rows)}.values())[::-1]


def refuse_known(graph: Graph) -> None:
    """Raise UnsupportedError that names everything `known_refusals` finds."""
    found = known_refusals(graph)
    if found:
        (first, place), *others = found
        more = f" (nor are: {', '.join(text for text, _ in others)})" if others else ""
        hint = "lampq doctor lists the model's layers"
        raise UnsupportedError(f"{first} is not supported{more}", where=place or graph.where, hint=hint)


def _key(graph: Graph, node: fx.Node) -> str:
    """The entry of `WORDS` that a node falls under; empty for none."""
    name = operator(node)
    return name if name in WORDS else ""


def has_attention(graph: Graph) -> bool:
    """Whether a softmax over products of computed values occurs anywhere."""
    for node in (n for n in graph.nodes if n in graph.computed):
        name = operator(node)
        if "scaled_dot_product" in name:
            return True
        if "softmax" in name and any(operator(n) in ("matmul", "bmm", "baddbmm") for n in _before(graph, node)):
            return True
    return False


def _before(graph: Graph, node: fx.Node) -> Iterator[fx.Node]:
    """The computed nodes right before a node, and those before them for as long as there is just one each."""
    before = [n for n in node.all_input_nodes if n in graph.computed]
    while len(before) == 1:
        yield before[0]
        before = [n for n in before[0].all_input_nodes if n in graph.computed]
