"""LayerNorm."""

from __future__ import annotations

import numpy as np

from lampq_tvm.calibrate.range_rules import DEVIATIONS, F64, Deviation
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.operators.layer_norm import LayerNorm


@DEVIATIONS.register(LayerNorm)
def norm_deviation(model: ImportedModel, op: LayerNorm, before: Deviation) -> F64:
    """|gamma| in the mean over channels."""
    found: F64 = np.abs(model.tensors[f"{op.name}.gamma"].astype(np.float64))
    return found
