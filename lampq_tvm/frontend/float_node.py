"""A node of the source model that no rule covers, while the network is recognized; parts are made of them afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from lampq_tvm.network.op import FloatOp
from lampq_tvm.network.operators.float_part import Node, Sizes


@dataclass(frozen=True)
class FloatNode(FloatOp):
    """One node, whose values are its inputs by number, and whose tensors are `{name}.c0`, `{name}.c1`, ...

    Attributes:
        out: shape of its output as in `FloatPart`; empty for several outputs.
        free: whether it costs next to nothing, so that whoever reads it has one of its own.
    """

    node: Node
    out: Sizes
    free: bool
