"""An exported graph becomes the operators of `network.model`, or is refused by the name of what stands in the way.

The graph is interpreted node by node over abstract values (`frontend.abstract`); the rules of each kind of operator are
in the `rules_*` files. What comes out is compared with the graph afterwards (`frontend.prove`), so a rule that is wrong
leads to a refusal and never to another network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from lampq_tvm.frontend import rules_attention as attention
from lampq_tvm.frontend import rules_elementwise as elementwise
from lampq_tvm.frontend import rules_linear as linear
from lampq_tvm.frontend import rules_movement as movement
from lampq_tvm.frontend import rules_norm as norm
from lampq_tvm.frontend.abstract import KNOWN, Statistic
from lampq_tvm.frontend.finish import Recognized, finish
from lampq_tvm.frontend.graph import Graph, operator
from lampq_tvm.frontend.refusals import refuse_known, words
from lampq_tvm.frontend.trace import Trace

Rule = Callable[..., Any]

CURVES = (
    "gelu relu silu sigmoid tanh erf exp abs pow square sqrt rsqrt reciprocal hardswish hardsigmoid hardtanh relu6 mish elu "
    "leaky_relu softplus clamp clamp_min clamp_max"
)

RULES: dict[str, Rule] = {
    "add": elementwise.add,
    "sub": elementwise.subtract,
    "rsub": lambda trace, a, b, alpha=1: elementwise.subtract(trace, b, elementwise.multiply(trace, a, alpha)),
    "mul": elementwise.multiply,
    "div": elementwise.divide,
    "neg": lambda trace, x: elementwise.multiply(trace, x, -1.0),
    "layer_norm": norm.layer_norm,
    "native_layer_norm": norm.native_layer_norm,
    "mean": norm.mean,
    "linalg_vector_norm": norm.vector_norm,
    "norm": norm.vector_norm,
    "linear": linear.linear,
    "addmm": linear.addmm,
    "mm": attention.matmul,
    "bmm": attention.matmul,
    "matmul": attention.matmul,
    "conv2d": linear.convolution,
    "convolution": linear.convolution,
    "scaled_dot_product_attention": attention.scaled_dot_product_attention,
    "_scaled_dot_product_flash_attention_for_cpu": attention.flash_attention,
    "softmax": attention.softmax,
    "_softmax": attention.softmax,
    "_safe_softmax": attention.softmax,
    "eq": attention.equal,
    "full_like": attention.full_like,
    "where": attention.where,
    "cat": movement.concatenate,
    "concat": movement.concatenate,
    "stack": movement.stack,
    "sym_size": movement.size,
    "getitem": lambda trace, x, index: x[index],
    "_assert_tensor_metadata": lambda trace, *args, **kwargs: None,
    **dict.fromkeys(movement.MOVES, movement.move),
    "pad": movement.pad,
    "constant_pad_nd": movement.constant_pad,
    **dict.fromkeys(movement.SAME, movement.same),
    **dict.fromkeys(movement.CASTS, movement.cast),
    **dict.fromkeys(CURVES.split(), elementwise.unary),
}


def recognize(graph: Graph, image_shape: tuple[int, ...]) -> Recognized:
    """Recognize a graph.

    Args:
        graph: with bound parameters.
        image_shape: [B, C, H, W] that the graph was exported for.

    Raises:
        UnsupportedError: names the operator, and the module it stands in, that has no rule.
    """
    refuse_known(graph)
    trace = Trace(graph, image_shape)
    values: dict[fx.Node, Any] = {graph.image: trace.image.elements, **graph.bound}
    with torch.no_grad():
        for node, dead in _with_last_uses(graph):
            if node.op != "placeholder":
                trace.node = node
                values[node] = _interpret(trace, node, values)
            for used in dead:
                values.pop(used, None)
        trace.node = graph.result
        return finish(trace, elementwise.read(trace, values[graph.result]))


def _interpret(trace: Trace, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    """The abstract value of one node: computed outright where it does not depend on the image, else by its rule."""
    bound: Any = map_arg((node.args, node.kwargs), lambda n: values[n])
    args, kwargs = bound
    name = operator(node)
    if node not in trace.graph.computed and name != "sym_size":
        return _plain_call(node, args, kwargs)
    if args and isinstance(args[0], Statistic) and name in ("sqrt", "rsqrt", "reciprocal", "square", "pow"):
        return norm.step(trace, _power(name, args), args[0])
    if args and isinstance(args[0], Statistic) and args[0].kind == "length" and name in ("clamp_min", "clamp"):
        return replace(args[0], eps=float(args[1]))
    rule = RULES.get(name)
    if rule is None and not any(isinstance(leaf, KNOWN) for leaf in _leaves((args, kwargs))):
        return _plain_call(node, args, kwargs)
    if rule is None or (name == "getitem" and isinstance(args[0], KNOWN)):
        return trace.refuse(words(node))
    try:
        return rule(trace, *args, **kwargs)
    except (TypeError, ValueError, IndexError, AttributeError, RuntimeError):  # options or shapes that the rule did not foresee
        return trace.refuse(f"operator {name} in this form")


def _plain_call(node: fx.Node, args: Any, kwargs: Any) -> Any:
    """Arithmetic on constants, and on sizes, which are plain integers here."""
    target: Any = node.target
    return target(*args, **kwargs)


def _power(name: str, args: Any) -> str:
    """`pow` by its exponent, as the step of a written-out LayerNorm that it is."""
    powers = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}
    return powers.get(float(args[1]), name) if name == "pow" else name


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _leaves(part)
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))
    else:
        yield value


def _with_last_uses(graph: Graph) -> Iterator[tuple[fx.Node, list[fx.Node]]]:
    """Each node with the values that nothing reads after it, so that memory stays small."""
    last: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        last |= dict.fromkeys(node.all_input_nodes, node)
    dead: dict[fx.Node, list[fx.Node]] = {}
    for used, node in last.items():
        if used is not graph.result and not isinstance(graph.bound.get(used), Tensor):
            dead.setdefault(node, []).append(used)
    for node in graph.nodes:
        yield node, dead.get(node, [])
