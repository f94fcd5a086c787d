"""Operators put into a network, taken out of it and exchanged: what a rewrite does that changes more than tensors.

Each function returns a new model; values keep their names, so that whatever is known of them by name stays true. The layer
table and all shapes follow, since they are computed from the operators.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.op import Op

Tensors = Mapping[str, np.ndarray]


def insert(model: ImportedModel, op: Op, after: str, tensors: Tensors | None = None) -> ImportedModel:
    """The model with an operator between a value and all who read it, the network's outputs included.

    Args:
        model: the network.
        op: reads the value `after` (or others that come before it too).
        after: name of an operator, or `image`.
        tensors: its constants, by their whole names.

    Raises:
        UnsupportedError: its name is taken, or an input is missing at that place.
    """
    place = 0 if after == "image" else model.ops.index(model.op(after)) + 1
    before = {"image", *(other.name for other in model.ops[:place])}
    if any(op.name == other.name for other in model.ops):
        raise UnsupportedError("there are two operators of this name", where=op.name)
    if missing := [name for name in op.inputs if name not in before]:
        raise UnsupportedError(f"it reads {missing[0]!r}, which is not there yet", where=op.name)
    ops = (*model.ops[:place], op, *_renamed(model.ops[place:], after, op.name))
    outputs = tuple(op.name if name == after else name for name in model.outputs)
    return dataclasses.replace(model, ops=ops, outputs=outputs, tensors={**model.tensors, **(tensors or {})})


def remove(model: ImportedModel, name: str) -> ImportedModel:
    """The model without an operator: those who read it read its first input instead. Its constants go with it."""
    op = model.op(name)
    source = op.inputs[0]
    ops = tuple(other for other in _renamed(model.ops, name, source) if other.name != name)
    outputs = tuple(source if output == name else output for output in model.outputs)
    return dataclasses.replace(model, ops=ops, outputs=outputs, tensors=_without(model.tensors, name))


def exchange(model: ImportedModel, op: Op, tensors: Tensors | None = None) -> ImportedModel:
    """The model with another operator under the name of one that it has, and with constants of its own.

    Raises:
        UnsupportedError: it reads what is not there at that place.
    """
    place = model.ops.index(model.op(op.name))
    before = {"image", *(other.name for other in model.ops[:place])}
    if missing := [name for name in op.inputs if name not in before]:
        raise UnsupportedError(f"it reads {missing[0]!r}, which is not there yet", where=op.name)
    ops = (*model.ops[:place], op, *model.ops[place + 1 :])
    return dataclasses.replace(model, ops=ops, tensors={**_without(model.tensors, op.name), **(tensors or {})})


def _renamed(ops: tuple[Op, ...], old: str, new: str) -> tuple[Op, ...]:
    """Operators that read the value `new` where they read `old`."""
    found = []
    for op in ops:
        inputs = tuple(new if name == old else name for name in op.inputs)
        found.append(op if inputs == op.inputs else dataclasses.replace(op, inputs=inputs))
    return tuple(found)


def _without(tensors: Tensors, name: str) -> dict[str, np.ndarray]:
    """Tensors but those of an operator."""
    return {key: value for key, value in tensors.items() if key.rpartition(".")[0] != name}
