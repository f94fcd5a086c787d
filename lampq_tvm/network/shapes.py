"""Shapes of every value of a network, of the float one and of the integer one: inferred here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lampq_tvm.network.op import IMAGE, Op, Shape, Shaped

if TYPE_CHECKING:
    from lampq_tvm.network.model import InputSpec


def infer_shapes(ops: Iterable[Op], image: InputSpec, tensors: Mapping[str, Shaped]) -> dict[str, Shape]:
    """Shape of every value without the batch, that of the image included.

    Args:
        ops: in execution order.
        image: what the network reads.
        tensors: the network's.

    Raises:
        UnsupportedError: an operator has no rule.
    """
    shapes: dict[str, Shape] = {IMAGE: (image.channels, image.height, image.width)}
    for op in ops:
        shapes[op.name] = tuple(int(extent) for extent in op.shape([shapes[name] for name in op.inputs], tensors))
    return shapes
