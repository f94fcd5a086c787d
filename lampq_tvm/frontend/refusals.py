"""Operators that are known and not served, in words a user understands."""

from __future__ import annotations

from collections.abc import Iterator

from torch import fx

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.graph import Graph, module_path, operator

POSITION_BIAS = "relative position bias or a mask on the attention scores"
ROTARY = "rotary position embedding (rope)"
POOLING = "attention pooling (its queries do not come from the image)"

# Most telling first: an error names the first of these that a model contains, then the others.
WORDS = {
    "add_to_scores": POSITION_BIAS,
    "rope": ROTARY,
    "attention_pooling": POOLING,
    "linalg_vector_norm": "cosine attention (L2 norm of q and k)",
    "norm": "cosine attention (L2 norm of q and k)",
    "roll": "window shift (roll)",
    "rms_norm": "RMSNorm (rms_norm)",
    "batch_norm": "batch normalization (batch_norm)",
    "_native_batch_norm_legit_no_training": "batch normalization (batch_norm)",
    "group_norm": "group normalization (group_norm)",
    "max_pool2d": "max pooling (max_pool2d)",
    "avg_pool2d": "average pooling of feature maps (avg_pool2d)",
    "adaptive_avg_pool2d": "average pooling of feature maps (adaptive_avg_pool2d)",
    "sum": "a sum over an axis or of parallel branches (sum)",
    "pad": "padding (pad)",
    "constant_pad_nd": "padding (pad)",
    "upsample_bicubic2d": "resizing inside the network",
    "wrap_with_set_grad_enabled": "a no_grad block",
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
    if name == "scaled_dot_product_attention":
        if node.args[0] not in graph.computed:
            return "attention_pooling"
        mask = node.args[3] if len(node.args) > 3 else node.kwargs.get("attn_mask")
        return "add_to_scores" if mask is not None else ""
    if name in ("softmax", "_softmax", "_safe_softmax"):
        return "add_to_scores" if _adds_to_scores(graph, node) else ""
    if name in ("mul", "add") and _reads_rotary(graph, node):
        return "rope"
    if name in ("pad", "constant_pad_nd") and not any(list(node.args[1])):  # type: ignore[call-overload, arg-type]
        return ""
    return name if name in WORDS else ""


def _adds_to_scores(graph: Graph, node: fx.Node) -> bool:
    """Whether something is added between q k^T and its softmax."""
    while operator(node) not in ("matmul", "bmm", "baddbmm"):
        if operator(node) == "add":
            return True
        before = [n for n in node.all_input_nodes if n in graph.computed]
        if len(before) != 1 or before[0] is graph.image:
            return False
        node = before[0]
    return False


def _reads_rotary(graph: Graph, node: fx.Node) -> bool:
    """Whether a constant operand is made from a buffer whose name says rope or rotary."""
    queue = [n for n in node.all_input_nodes if n not in graph.computed]
    while queue:
        constant = queue.pop()
        if any(word in graph.fqn.get(constant, "") for word in ("rope", "rotary", "freqs")):
            return True
        queue += constant.all_input_nodes
    return False


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
