"""Multiply-adds of a network for one image: of its integer operators, and of the parts that stay float."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from lampq_tvm.network.model import Attends, ImportedModel, Multiplies
from lampq_tvm.network.op import FloatOp, Shape
from lampq_tvm.network.operators.float_part import FloatPart, whole


def _attention_flops(q: Shape, k: Shape, v: Shape, *more: Any, **options: Any) -> int:
    return 2 * math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


# What torch's counter passes over: attention as CPUs run it.
UNCOUNTED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


@dataclass(frozen=True)
class Part:
    """A part that stays float.

    Attributes:
        operators: how often each of torch's operators occurs in it.
        macs_by: its multiply-adds for one image, by torch's operator that does them.
    """

    name: str
    operators: dict[str, int]
    macs_by: dict[str, int]

    @property
    def macs(self) -> int:
        """Its multiply-adds for one image."""
        return sum(self.macs_by.values())


def integer_macs(model: ImportedModel) -> dict[str, int]:
    """Multiply-adds of layers and of products of computed values, by operator."""
    found = {layer.name: layer.macs for layer in model.layers}
    for op in model.ops:
        if isinstance(op, Attends | Multiplies):
            found[op.name] = _product_macs(model, op)
    return found


def _product_macs(model: ImportedModel, op: Attends | Multiplies) -> int:
    return sum(_counted(model, op, tuple(torch.zeros((1, *model.shapes[x])) for x in op.inputs)).values())


def total_macs(model: ImportedModel, parts: Iterable[Part]) -> int:
    """Multiply-adds of a whole network, whose float parts are given."""
    return sum((integer_macs(model) | {part.name: part.macs for part in parts}).values())


def float_parts(model: ImportedModel, products: Collection[str] = ()) -> tuple[Part, ...]:
    """The parts that stay float, in execution order.

    Args:
        products: names of whatever is known to stay float; products of computed values are parts where they are named.
    """
    found = []
    for op in model.ops:
        if isinstance(op, FloatPart):
            found.append(Part(op.name, op.operators, part_macs(model, op)))
        elif isinstance(op, Multiplies) and op.name in products:
            found.append(Part(op.name, {"matmul": 1}, {"matmul": _product_macs(model, op)}))
    return tuple(found)


def part_macs(model: ImportedModel, op: FloatPart) -> dict[str, int]:
    """Multiply-adds of one part for one image, by torch's operator that does them (`convolution`, `bmm`)."""
    return _counted(model, op, tuple(torch.zeros(whole(sizes, 1)) for sizes in op.ins))


def _counted(model: ImportedModel, op: FloatOp, inputs: tuple[torch.Tensor, ...]) -> dict[str, int]:
    """Half the floating-point operations of an operator's matrix products and convolutions."""
    own = {f"{op.name}.{field}": torch.from_numpy(np.array(v)) for field, v in op.constants(model.tensors).items()}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
        op.run(inputs, own)
    counted = counter.get_flop_counts().get("Global", {})
    return {str(name).removeprefix("aten."): int(flops) // 2 for name, flops in counted.items()}
