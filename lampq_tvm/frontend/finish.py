"""The last steps of recognition: drop what is unused, choose tokens before LayerNorm, name layer types."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from lampq_tvm.frontend.cones import joined
from lampq_tvm.frontend.layers import layer_types
from lampq_tvm.frontend.rules.movement import CASTS, MOVES, SAME
from lampq_tvm.frontend.trace import Base, Trace
from lampq_tvm.network.model import Attends, Attention, Gate, LayerNorm, Linear, Multiplies, Op, Regroup, TakeToken
from lampq_tvm.network.op import IMAGE, FloatOp
from lampq_tvm.network.operators.float_part import FloatPart

ANY = "fc1"  # type of a layer beside parts that stay float, of which nothing tells its place
VECTORS = 2  # axes of an output that has one vector an image
CLOSEST = ("qkv", "proj", "fc1", "fc2")  # types of layers that a neighbour decides before all else, in this order


@dataclass(frozen=True)
class Recognized:
    """The network without its origin: fields as in `ImportedModel`, tensors still torch's."""

    ops: tuple[Op, ...]
    outputs: tuple[str, ...]
    has_classifier: bool
    tensors: dict[str, Tensor]


def finish(trace: Trace, outputs: Sequence[Base], floats: bool = False) -> Recognized:
    """Complete a trace.

    Args:
        outputs: the values that the network gives.
        floats: whether there may be parts that stay float.

    Raises:
        UnsupportedError: an output is the image itself, there is no attention, or a layer's place is unknown.
    """
    if any(output.op is None for output in outputs):
        trace.refuse("an output that is the image itself")
    given = tuple(output.name for output in outputs)
    ops = _needed(trace.ops, given)
    if not any(isinstance(op, FloatOp) and op.layer_type is not None for op in ops):
        trace.refuse("a network of which no layer can be quantized")
    if not (floats or any(isinstance(op, Attends) for op in ops)) or not any(op.reads_image for op in ops):
        trace.refuse("a network whose output does not pass a patch embedding and attention")
    tensors, types = trace.tensors, dict[str, str]()
    if floats:
        shapes = {base.name: base.shape for base in trace.bases if base.alive} | {IMAGE: trace.image.shape}
        ops, tensors = joined(ops, given, tensors, shapes)
        types = layer_types(trace.graph)
    ops, final, tensors = _tokens_before_norms(ops, given, tensors)
    ops = [
        dataclasses.replace(op, type=_layer_type(trace, op, ops, final, types)) if isinstance(op, Linear) else op for op in ops
    ]
    names = {op.name for op in ops}
    tensors = {k: v for k, v in tensors.items() if k.rpartition(".")[0] in names}
    last = _unmoved(final[0], ops)
    logits = len(final) == 1 and len(outputs[0].shape) == VECTORS and isinstance(last, FloatOp) and last.gives_logits
    return Recognized(tuple(ops), final, logits, tensors)


def _needed(ops: list[Op], outputs: Sequence[str]) -> list[Op]:
    """The operators that the outputs depend on."""
    wanted, kept = set(outputs), []
    for op in reversed(ops):
        if op.name in wanted:
            kept.append(op)
            wanted |= set(op.inputs)
    return kept[::-1]


def _tokens_before_norms(
    ops: list[Op], outputs: Sequence[str], tensors: dict[str, Tensor]
) -> tuple[list[Op], tuple[str, ...], dict[str, Tensor]]:
    """Move every LayerNorm of which only single tokens are read behind the choice of the token (it works per token)."""
    tensors, moved = dict(tensors), []
    renamed: dict[str, str] = {}
    norms = {op.name: op for op in ops if isinstance(op, LayerNorm) and op.name not in outputs}
    readers = {name: [op for op in ops if name in op.inputs] for name in norms}
    norms = {name: op for name, op in norms.items() if all(isinstance(r, TakeToken) for r in readers[name])}
    for op in ops:
        if op.name in norms:
            continue
        op = dataclasses.replace(op, inputs=tuple(renamed.get(name, name) for name in op.inputs))
        if not (isinstance(op, TakeToken) and op.inputs[0] in norms):
            moved.append(op)
            continue
        norm = norms[op.inputs[0]]
        name = norm.name if op.name == readers[norm.name][0].name else f"{norm.name}.{op.index}"
        token = TakeToken(f"{norm.inputs[0]}.token{op.index}", norm.inputs, op.index)
        moved += [o for o in (token, dataclasses.replace(norm, name=name, inputs=(token.name,))) if o not in moved]
        tensors |= {f"{name}.{field}": tensors[f"{norm.name}.{field}"] for field in ("gamma", "beta")}
        renamed[op.name] = name
    return moved, tuple(renamed.get(output, output) for output in outputs), tensors


def _layer_type(trace: Trace, op: Linear, ops: list[Op], outputs: Sequence[str], types: Mapping[str, str]) -> str:
    """A linear layer's type by what stands before and behind it, or beside parts that stay float by its name."""
    source = _before_moves(op.inputs[0], ops)
    wanted = {o.layer_before for o in ops if isinstance(o, FloatOp) and op.name in o.inputs}
    given = source.layer_behind if isinstance(source, FloatOp) else None
    found = next((kind for kind in CLOSEST if kind in (*wanted, given)), None)
    if found is None:
        found = "head" if op.name in outputs or wanted <= {"head"} else given
    found = found or types.get(op.name) or types.get(re.sub(r"_\d+$", "", op.name)) or (ANY if types else None)
    return found or trace.refuse(f"the place of the linear layer {op.name} (neither attention, MLP nor head)")


def _unmoved(name: str, ops: list[Op]) -> Op:
    """The operator that computes a value, looked for behind parts that only change its shape."""
    op = next(o for o in ops if o.name == name)
    only_moves = isinstance(op, FloatPart) and len(op.inputs) == 1 and op.operators.keys() <= MOVES | SAME | CASTS
    return _unmoved(op.inputs[0], ops) if only_moves else op


def _before_moves(name: str, ops: list[Op]) -> Op | None:
    """The operator that computes a value, looked for behind norms and moves of tokens; Regroup where it merges patches."""
    op = next((o for o in ops if o.name == name), None)
    if isinstance(op, LayerNorm):
        before = _before_moves(op.inputs[0], ops)
        return before if isinstance(before, (Regroup, Gate)) else op
    if isinstance(op, Regroup):
        before = _before_moves(op.inputs[0], ops)
        return before if isinstance(before, (Attention, Multiplies, FloatPart)) else op
    return op
