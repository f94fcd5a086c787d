"""An exported graph becomes the operators of `network.model`, or is refused by the name of what stands in the way.

The graph is interpreted node by node over abstract values (`frontend.abstract`); the rules of each kind of operator are in
`frontend.rules`. What comes out is compared with the graph afterwards (`frontend.prove`), so a rule that is wrong leads to a
refusal and never to another network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.abstract import KNOWN, Statistic
from lampq_tvm.frontend.finish import VECTORS, Recognized, finish
from lampq_tvm.frontend.floats import Floats
from lampq_tvm.frontend.graph import Graph, operator
from lampq_tvm.frontend.refusals import refuse_known, words
from lampq_tvm.frontend.rules import RULES
from lampq_tvm.frontend.rules.elementwise import read
from lampq_tvm.frontend.rules.norm import step
from lampq_tvm.frontend.trace import Base, Trace

CHOICES = ("where", "masked_fill", "scaled_dot_product_attention")  # may be told by a condition


def recognize(graph: Graph, image_shape: tuple[int, ...], strict: bool = True) -> Recognized:
    """Recognize a graph.

    Args:
        graph: with bound parameters.
        image_shape: [B, C, H, W] that the graph was exported for.
        strict: whether what has no rule is refused; else it stays float.

    Raises:
        UnsupportedError: names the operator, and the module it stands in, that has no rule.
    """
    if strict:
        refuse_known(graph)
    trace = Trace(graph, image_shape)
    values: dict[fx.Node, Any] = {graph.image: trace.image.elements, **graph.bound}
    floats = None if strict else Floats(trace, values)
    with torch.no_grad():
        for node, dead in _with_last_uses(graph):
            if node.op != "placeholder":
                trace.node = node
                values[node] = _by_rule_or_float(trace, node, values, floats)
            if floats is not None:
                floats.settle(node, values[node])
            for used in dead:
                if floats is None or used in graph.computed:
                    values.pop(used, None)
        outputs = [_output(trace, node, values[node], floats) for node in graph.results]
        return finish(trace, outputs, floats is not None)


def _by_rule_or_float(trace: Trace, node: fx.Node, values: dict[fx.Node, Any], floats: Floats | None) -> Any:
    """The abstract value of one node: by its rule, or in float where that refuses it."""
    if floats is None:
        return _interpret(trace, node, values)
    before = trace.saved()
    try:
        if node.meta.get("val") is not None and node in trace.graph.computed and not _is_float(node):
            trace.refuse("computing in another type than float32")
        return _interpret(trace, node, values)
    except UnsupportedError:
        trace.restore(before)
        return floats.instead(node, lambda given: _interpret(trace, node, given))


def _is_float(node: fx.Node) -> bool:
    """Whether a node gives float32 from float32; conditions may be made of conditions, and chosen by."""
    given, wanted = _dtypes(node.all_input_nodes), _dtypes([node])
    conditions = wanted == {torch.bool} or operator(node) in CHOICES
    return wanted <= {torch.float32, torch.bool} and given <= {torch.float32, *([torch.bool] if conditions else [])}


def _dtypes(nodes: Iterable[fx.Node]) -> set[torch.dtype]:
    return {leaf.dtype for node in nodes for leaf in _leaves(node.meta.get("val")) if isinstance(leaf, Tensor)}


def _output(trace: Trace, node: fx.Node, value: Any, floats: Floats | None) -> Base:
    """A value that the network gives."""
    trace.node = node
    shown = node.meta["val"]
    if shown.dtype is not torch.float32 or shown.ndim < VECTORS:
        trace.refuse(f"an output of {str(shown.dtype).removeprefix('torch.')} {list(shown.shape)} (not float32 [B, ...])")
    if floats is None:
        return read(trace, value)
    before = trace.saved()
    try:
        found = read(trace, value)
    except UnsupportedError:
        trace.restore(before)
        return floats.output(node)
    return floats.shaped(found, node)


def _interpret(trace: Trace, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    """The abstract value of one node: computed outright where it does not depend on the image, else by its rule."""
    bound: Any = map_arg((node.args, node.kwargs), lambda n: values[n])
    args, kwargs = bound
    if node.op == "get_attr":  # a block of operators, which is told of where it is called
        return None
    name = operator(node)
    if node not in trace.graph.computed and name != "sym_size":
        return _plain_call(node, args, kwargs)
    if args and isinstance(args[0], Statistic) and name in ("sqrt", "rsqrt", "reciprocal", "square", "pow"):
        return step(trace, _power(name, args), args[0])
    if args and isinstance(args[0], Statistic) and args[0].kind == "length" and name in ("clamp_min", "clamp"):
        return replace(args[0], eps=float(args[1]))
    rule = RULES.get(name)
    leaves = list(_leaves((args, kwargs)))
    constant = not any(isinstance(leaf, KNOWN) for leaf in leaves)
    if constant and (rule is None or any(isinstance(leaf, Tensor) for leaf in leaves)):
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
        if used not in graph.results and not isinstance(graph.bound.get(used), Tensor):
            dead.setdefault(node, []).append(used)
    for node in graph.nodes:
        yield node, dead.get(node, [])
