"""Float nodes are joined to parts: each value that leaves them has a part, with all nodes that serve it alone.

A part is a cone: its last node is the only one that anybody else reads, so no path leaves it and comes back. Nodes that cost
nothing are in every part that reads them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from lampq_tvm.frontend.float_node import FloatNode
from lampq_tvm.network.op import Op, Shape
from lampq_tvm.network.operators.float_part import FloatPart, Node, Sizes


def joined(
    ops: Sequence[Op], outputs: Sequence[str], tensors: dict[str, Tensor], shapes: Mapping[str, Shape]
) -> tuple[list[Op], dict[str, Tensor]]:
    """The network with parts in place of float nodes, and its tensors.

    Args:
        ops: in execution order, all of them needed.
        outputs: names of the values that the network gives.
        tensors: of all operators.
        shapes: of the values that operators read, by name, the images first.
    """
    nodes = {op.name: op for op in ops if isinstance(op, FloatNode)}
    cones = _cones(ops, outputs, nodes)
    sizes: dict[str, Sizes] = {name: ({"images": 1}, *shape[1:]) for name, shape in shapes.items()}
    sizes |= {name: node.out for name, node in nodes.items()}
    made: list[Op] = []
    kept = {k: v for k, v in tensors.items() if k.rpartition(".")[0] not in nodes}
    for op in ops:
        if not isinstance(op, FloatNode):
            made.append(op)
        elif op.name in cones:
            part, constants = _part([nodes[name] for name in cones[op.name]], tensors, sizes)
            made.append(part)
            kept |= {f"{op.name}.{field}": tensor for field, tensor in constants.items()}
    return made, kept


def _cones(ops: Sequence[Op], outputs: Sequence[str], nodes: Mapping[str, FloatNode]) -> dict[str, list[str]]:
    """Names of each part's nodes in execution order, by that of its last one."""
    roots: dict[str, set[str]] = {name: set() for name in nodes}  # of each node, the parts that it is in
    readers: dict[str, list[Op]] = {}
    for op in ops:
        for name in dict.fromkeys(op.inputs):
            readers.setdefault(name, []).append(op)
    for name, node in reversed(list(nodes.items())):
        found = {root for op in readers.get(name, []) if isinstance(op, FloatNode) for root in roots[op.name]}
        leaves = name in outputs or any(not isinstance(op, FloatNode) for op in readers.get(name, []))
        roots[name] = (found if node.free or (len(found) == 1 and not leaves) else set()) | ({name} if leaves else set())
        roots[name] = roots[name] or {name}
    return {root: [n for n in nodes if root in roots[n]] for root in nodes if root in roots[root]}


def _part(
    nodes: Sequence[FloatNode], tensors: Mapping[str, Tensor], sizes: Mapping[str, Sizes]
) -> tuple[FloatPart, dict[str, Tensor]]:
    """Some nodes in execution order as one operator, with its constants by field."""
    inside = {node.name for node in nodes}
    inputs = list(dict.fromkeys(name for node in nodes for name in node.inputs if name not in inside))
    places = {name: i for i, name in enumerate([*inputs, *(node.name for node in nodes)])}
    constants: dict[str, Tensor] = {}
    rows = []
    for node in nodes:
        own = node.constants(tensors)
        fields = {field: f"c{len(constants) + i}" for i, field in enumerate(own)}
        constants |= {fields[field]: tensor for field, tensor in own.items()}
        values = [places[name] for name in node.inputs]
        args, kwargs = node.node.mapped(functools.partial(_renumbered, values, fields))
        rows.append(Node(node.node.target, tuple(args), kwargs))
    last, ins = nodes[-1], tuple(sizes[name] for name in inputs)
    return FloatPart(last.name, tuple(inputs), tuple(rows), ins, last.out), constants


def _renumbered(values: Sequence[int], fields: Mapping[str, str], reference: dict[str, Any]) -> dict[str, Any]:
    """A reference to the part's values and constants instead of the node's."""
    if "value" in reference:
        return {"value": values[reference["value"]]}
    return {**reference, "constant": fields[reference["constant"]]} if "constant" in reference else reference
