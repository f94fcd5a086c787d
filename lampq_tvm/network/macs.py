"""Multiply-adds of a network for one image: of its integer operators, and of the parts that stay float."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from lampq_tvm.network.model import Attends, ImportedModel
from lampq_tvm.network.operators.float_part import FloatPart, whole


@dataclass(frozen=True)
class Part:
    """A part that stays float.

    Attributes:
        operators: how often each of torch's operators occurs in it.
        macs: its multiply-adds for one image.
    """

    name: str
    operators: dict[str, int]
    macs: int


def integer_macs(model: ImportedModel) -> dict[str, int]:
    """Multiply-adds of layers and of attention's two products, by operator."""
    found = {layer.name: layer.macs for layer in model.layers}
    for op in model.ops:
        if isinstance(op, Attends):
            shape = tuple(model.shapes[op.inputs[0]])
            x = torch.zeros((1, *shape))
            tensors = {k: torch.from_numpy(v) for k, v in model.tensors.items() if k.rpartition(".")[0] == op.name}
            found[op.name] = _counted(lambda op=op, x=x, tensors=tensors: op.run((x,), tensors))  # type: ignore[misc]
    return found


def float_parts(model: ImportedModel) -> tuple[Part, ...]:
    """The parts that stay float, in execution order."""
    return tuple(Part(op.name, op.operators, part_macs(model, op)) for op in model.ops if isinstance(op, FloatPart))


def part_macs(model: ImportedModel, op: FloatPart) -> int:
    """Multiply-adds of one part."""
    own = {k: torch.from_numpy(v) for k, v in model.tensors.items() if k.rpartition(".")[0] == op.name}
    inputs = tuple(torch.zeros(whole(sizes, 1)) for sizes in op.ins)
    return _counted(lambda: op.run(inputs, own))


def _counted(run: object) -> int:
    """Half the floating-point operations of matrix products and convolutions that a call makes."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()  # type: ignore[operator]
    return int(counter.get_total_flops()) // 2
