"""NoisyQuant (CVPR 2023): a fixed noise is added to each channel before rounding and taken out again in the bias behind it.

The noise is Gaussian, (2 z - 1) scale with z standard normal, as published code draws it; its scale is the best of a grid by
the output error at four bits, none among them. It is folded into what makes the input, so it costs nothing when the model runs;
where nothing can absorb it (behind an activation function) there is none.
"""

from __future__ import annotations

import numpy as np

from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.seen import Seen
from lampq_tvm.quantizers.uniform import Uniform
from lampq_tvm.rewrites.channels import F64, Input, change_channels
from lampq_tvm.rewrites.rewrite import REWRITES

BITS = 4
SHARES = np.linspace(0, 1, 21)  # of a quantization step
ROWS = 256


@REWRITES.register("noisy")
def add_noise(model: ImportedModel, seen: Seen) -> tuple[ImportedModel, Seen]:
    """(the same function with shifted inputs, what was seen of them). Neither argument is changed."""
    return change_channels(model, seen, noise)


def noise(x: Input) -> tuple[F64, F64]:
    """(minus the noise [K], ones)."""
    drawn = 2 * np.random.default_rng(0).standard_normal(len(x.low)) - 1
    step = Uniform.of_range(float(x.low.min()), float(x.high.max()), BITS).scale
    rows = x.rows[:ROWS].astype(np.float64)
    tried = [share * step * drawn for share in SHARES]
    errors = [
        _error(rows + n, Uniform.of_range(float((x.low + n).min()), float((x.high + n).max()), BITS), x.weights) for n in tried
    ]
    return -tried[int(np.argmin(errors))], np.ones(len(drawn))


def _error(rows: F64, quantizer: Uniform, weights: F64) -> float:
    """Squared error of the outputs."""
    return float(np.square((quantizer.values(quantizer.encode(rows)) - rows) @ weights.T).sum())
