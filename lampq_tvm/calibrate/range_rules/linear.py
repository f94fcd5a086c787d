"""Linear layers."""

from __future__ import annotations

import numpy as np

from lampq_tvm.calibrate.range_rules import DEVIATIONS, F64, Deviation
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.operators.linear import Linear


@DEVIATIONS.register(Linear)
def product_deviation(model: ImportedModel, op: Linear, before: Deviation) -> F64 | None:
    """That of its weights times its input's."""
    spread = before(op.inputs[0])
    if spread is None:
        return None
    weight = model.tensors[f"{op.name}.weight"].astype(np.float64)
    found: F64 = np.sqrt((weight**2 * spread**2).sum(1))
    return found
