"""What stays float: in float64, rounded at the end."""

from __future__ import annotations

import numpy as np
import torch

from lampq_tvm.network.operators.float_part import images_of, run_nodes
from lampq_tvm.oracle.fma import fma32
from lampq_tvm.oracle.operators import RULES, Array
from lampq_tvm.quantize.operators.float_part import QFloatPart, QNormalized


@RULES.register(QFloatPart)
def part(op: QFloatPart, t: dict[str, Array], x: list[Array]) -> Array:
    """Its nodes one after the other, nearer to the truth than whoever works in float32."""
    values, constants = [_wide(each) for each in x], {field: _wide(each) for field, each in t.items()}
    return run_nodes(op.nodes, values, constants, images_of(op.ins[0], x[0].shape)).float().numpy()


def _wide(array: Array) -> torch.Tensor:
    found = torch.from_numpy(np.ascontiguousarray(array))
    return found.double() if found.is_floating_point() else found


@RULES.register(QNormalized)
def normalized(op: QNormalized, t: dict[str, Array], x: list[Array]) -> Array:
    """Codes are pixels less 128."""
    pixels = (x[0].astype(np.int16) + 128).astype(np.float32)
    return fma32(pixels, t["scale"].reshape(-1, 1, 1), t["shift"].reshape(-1, 1, 1))
