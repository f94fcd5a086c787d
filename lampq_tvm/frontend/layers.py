"""The layer table of any exported transformer: its products with weights, also of models that are refused."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, fx

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.graph import Graph, module_path, operator, parameter_name
from lampq_tvm.frontend.refusals import has_attention
from lampq_tvm.network.model import Layer

# Where the weight stands among the arguments of each spelling, and whether it is stored as [K, N].
WEIGHT = {"linear": (1, False), "conv2d": (1, False), "convolution": (1, False), "addmm": (2, True)}
WEIGHT |= {"mm": (1, True), "bmm": (1, True), "matmul": (1, True)}
FUNCTIONS = {"gelu", "silu", "relu", "sigmoid", "tanh", "erf", "hardswish", "mish", "elu"}
ATTENTION = {"scaled_dot_product_attention", "_scaled_dot_product_flash_attention_for_cpu", "softmax", "_softmax"}

TYPE_OF_NAME = {
    **dict.fromkeys(
        ["qkv", "to_qkv", "qkv_proj", "in_proj", "q", "k", "v", "kv", "q_proj", "k_proj", "v_proj", "query", "key", "value"],
        "qkv",
    ),
    **dict.fromkeys(["fc1", "fc1_g", "fc1_x", "w12"], "fc1"),
    "fc2": "fc2",
    "reduction": "reduction",
    **dict.fromkeys(["head", "head_dist", "classifier"], "head"),
}


def layer_table(graph: Graph) -> tuple[Layer, ...]:
    """Rows of every linear layer and of the patch convolution, in execution order.

    Raises:
        UnsupportedError: the model has no attention layer.
    """
    if not has_attention(graph):
        hint = "lampq-tvm compiles Vision Transformers"
        raise UnsupportedError("no attention layer in this model", where=graph.where, hint=hint)
    return tuple(_rows(graph))


def layer_types(graph: Graph) -> dict[str, str]:
    """Type of every layer, by its name."""
    return {row.name: row.type for row in _rows(graph)}


def _rows(graph: Graph) -> list[Layer]:
    rows: list[Layer] = []
    for node, weight in _products(graph):
        name = parameter_name(graph, weight).removesuffix(".weight") or module_path(node) or operator(node)
        same = sum(row.name == name or row.name.startswith(f"{name}#") for row in rows)
        rows.append(_row(graph, node, weight, f"{name}#{same}" if same else name))
    return rows


def _products(graph: Graph) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Nodes that multiply computed values with constant weights, each with its weight's node."""
    for node in (n for n in graph.nodes if n in graph.computed and operator(n) in WEIGHT):
        place, _ = WEIGHT[operator(node)]
        weight = node.args[place]
        if not isinstance(weight, fx.Node) or weight in graph.computed or node.args[place - 1] not in graph.computed:
            continue
        if "conv" not in operator(node) or _is_patch(graph, node, weight):
            yield node, weight


def _is_patch(graph: Graph, node: fx.Node, weight: fx.Node) -> bool:
    """Whether a convolution reads the image itself and its stride is its kernel."""
    strides = node.args[3] if len(node.args) > 3 else (1,)
    sizes = list(weight.meta["val"].shape[2:])
    return node.args[0] is graph.image and isinstance(strides, (list, tuple)) and list(strides) == sizes


def _row(graph: Graph, node: fx.Node, weight: fx.Node, name: str) -> Layer:
    shape = weight.meta["val"].shape
    transposed = WEIGHT[operator(node)][1]
    n, k = (shape[-1], shape[-2]) if transposed else (shape[0], shape[1:].numel())
    out: Tensor = node.meta["val"]
    batch = int(graph.image.meta["val"].shape[0])
    kind, macs = _type(graph, node, name), int(out.numel()) // batch * int(k)
    return Layer(name, kind, int(n), int(k), macs, node.args[0] is graph.image)


def _type(graph: Graph, node: fx.Node, name: str) -> str:
    """A layer's type by its name where timm's names say it, else by what stands before and behind it."""
    parts = name.split("#")[0].split(".")
    if "conv" in operator(node):
        return "patch_embed"
    if parts[-1] in TYPE_OF_NAME:
        return TYPE_OF_NAME[parts[-1]]
    if parts[-1] in ("proj", "out_proj", "o_proj") and any("attn" in p for p in parts[:-1]):
        return "proj"
    behind, ahead = _nearby(graph, node, forward=False), _nearby(graph, node, forward=True)
    for kind, found in (("qkv", ahead & ATTENTION), ("proj", behind & ATTENTION), ("fc1", ahead & FUNCTIONS)):
        if found:
            return kind
    if behind & FUNCTIONS:
        return "fc2"
    return "head" if "output" in ahead else "reduction"


def _nearby(graph: Graph, node: fx.Node, forward: bool) -> set[str]:
    """Operators met from a layer on until the next layers and the residual additions."""
    queue, met, seen = [node], set(), {node}
    while queue:
        near = queue.pop()
        for other in list(near.users) if forward else near.all_input_nodes:
            computed_inputs = sum(n in graph.computed for n in other.all_input_nodes)
            stop = (operator(other) in WEIGHT and computed_inputs == 1) or (operator(other) == "add" and computed_inputs > 1)
            if other.op == "output":
                met.add("output")
            elif other in graph.computed and other not in seen and not stop:
                seen.add(other)
                met.add("silu" if operator(other) == "mul" and computed_inputs > 1 else operator(other))
                queue.append(other)
    return met
