"""What stays float."""

from __future__ import annotations

from torch import Tensor

from lampq_tvm.network.operators.float_part import images_of, run_nodes
from lampq_tvm.quantize import exact
from lampq_tvm.quantize.operators.float_part import QFloatPart, QNormalized
from lampq_tvm.quantize.reference_rules import RULES


@RULES.register(QFloatPart)
def part(op: QFloatPart, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """Its nodes one after the other."""
    return run_nodes(op.nodes, x, t, images_of(op.ins[0], x[0].shape))


@RULES.register(QNormalized)
def normalized(op: QNormalized, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """Codes are pixels less 128."""
    scale, shift = (t[field].view(-1, 1, 1) for field in ("scale", "shift"))
    return exact.fma((x[0].short() + 128).float(), scale, shift)
