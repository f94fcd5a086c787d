"""Operators that are known and not served, in words a user understands."""

from __future__ import annotations

from collections.abc import Iterator

from torch import fx

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.graph import Graph, module_path, operator

WORDS = {
    "roll": "the window shift (roll)",
    "linalg_vector_norm": "cosine attention (L2 norm of q and k)",
    "norm": "cosine attention (L2 norm of q and k)",
    "rms_norm": "RMSNorm",
    "batch_norm": "batch normalization",
    "_native_batch_norm_legit_no_training": "batch normalization",
    "group_norm": "group normalization",
    "max_pool2d": "max pooling",
    "avg_pool2d": "average pooling of feature maps",
    "adaptive_avg_pool2d": "average pooling of feature maps",
    "pad": "padding",
    "constant_pad_nd": "padding",
    "upsample_bicubic2d": "resizing inside the network",
    "wrap_with_set_grad_enabled": "a no_grad block",
}
ROTARY = "rotary position embedding (rope)"
POSITION_BIAS = "relative position bias (or a mask) on attention scores"
POOLING = "attention pooling (its queries do not come from the image)"


def words(node: fx.Node) -> str:
    """A node's operator for an error line."""
    name = operator(node)
    return f"{WORDS[name]}, operator {name}," if name in WORDS else f"operator {name}"


def known_refusals(graph: Graph) -> Iterator[tuple[fx.Node, str]]:
    """Nodes that cannot be served whatever stands around them, each with its words."""
    for node in graph.nodes:
        if node not in graph.computed or node.op != "call_function":
            continue
        name = operator(node)
        if name in WORDS:
            yield node, words(node)
        elif name == "scaled_dot_product_attention":
            q, mask = node.args[0], (node.args[3] if len(node.args) > 3 else node.kwargs.get("attn_mask"))
            if q not in graph.computed:
                yield node, POOLING
            elif mask is not None:
                yield node, POSITION_BIAS
        elif name in ("mul", "add") and _reads_rotary(graph, node):
            yield node, ROTARY


def refuse_known(graph: Graph) -> None:
    """Raise UnsupportedError for the first such node, naming the others in one line too."""
    found = list(known_refusals(graph))
    if not found:
        return
    node, what = found[0]
    others = list(dict.fromkeys(text for _, text in found if text != what))
    more = f"; neither is {', '.join(others)}" if others else ""
    where = module_path(node) or graph.where
    raise UnsupportedError(f"{what} is not supported{more}", where=where, hint="its layers are listed by lampq doctor")


def _reads_rotary(graph: Graph, node: fx.Node) -> bool:
    """Whether a constant operand is made from a buffer whose name says rope or rotary."""
    queue = [n for n in node.all_input_nodes if n not in graph.computed]
    while queue:
        constant = queue.pop()
        if any(word in graph.fqn.get(constant, "") for word in ("rope", "rotary", "freqs")):
            return True
        queue += constant.all_input_nodes
    return False
