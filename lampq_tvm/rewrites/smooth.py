"""SmoothQuant with a bias (SQ-b of MPTQ-ViT, 2024): each channel loses its mean, then shares its range with the weights.

x' = (x - mean) / s with s = max|x - mean|^a / max|w|^(1 - a), a = 1/2, over the channel; qkv and fc1 alone, as published.
"""

from __future__ import annotations

import numpy as np

from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.seen import Seen
from lampq_tvm.rewrites.channels import F64, Input, change_channels
from lampq_tvm.rewrites.rewrite import REWRITES

ALPHA = 0.5
SMALLEST, LARGEST = 1e-2, 1e2  # of s over its geometric mean


@REWRITES.register("smooth")
def smooth(model: ImportedModel, seen: Seen) -> tuple[ImportedModel, Seen]:
    """(the same function with smoothed inputs behind LayerNorms, what was seen of them). Neither argument is changed."""
    return change_channels(model, seen, smoothing, values=False)


def smoothing(x: Input) -> tuple[F64, F64]:
    """(mean [K], s [K])."""
    mean = x.rows.mean(0, dtype=np.float64)
    reach = np.maximum(np.maximum(x.high - mean, mean - x.low), 1e-12)
    weights = np.maximum(np.abs(x.weights).max(0), 1e-12)
    s = reach**ALPHA / weights ** (1 - ALPHA)
    middle = np.exp(np.log(s).mean())
    return mean, np.clip(s, SMALLEST * middle, LARGEST * middle)
