"""Constants of attention scores: the steps of their index, and what the model adds to them, in units of the integer sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.quantize.constants import NATS, STEPS

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
LARGEST = 1 << 28
MASKED = -(1 << 30)
MASKED_NATS = 64.0  # a score that a bias puts this far below others of its row is masked: ten times what p can tell from 0
SMALLEST_UNIT = 2.0**-16 * NATS / STEPS  # nats per unit of a sum of scores to which a bias is added


def raised_scales(scales: F64, scale: float) -> F64:
    """Scales [3, heads] of q, k and v for scores with a bias: q's as large as it takes for a mask and a bias to fit int32.

    Only heads whose scores are all but zero are changed, and their scores by far less than a step of the index.
    """
    unit = scales[0] * scales[1] * scale
    return np.stack([scales[0] * np.maximum(1, SMALLEST_UNIT / np.maximum(unit, 1e-300)), scales[1], scales[2]])


def score_bias(bias: npt.NDArray[np.float32], unit: F64) -> I32:
    """Bias [groups, heads, T, T] in units of the sums, [heads] nats each: rounded once, clamped; masked places get -2^30."""
    real = bias.astype(np.float64)
    masked = real <= real.max(-1, keepdims=True) - MASKED_NATS
    with np.errstate(invalid="ignore"):
        codes = np.clip(np.rint(real / unit[:, None, None]), -LARGEST, LARGEST)
    return np.where(masked, MASKED, np.nan_to_num(codes)).astype(np.int32)


def distinct(bias: I32) -> tuple[I32, npt.NDArray[Any]]:
    """(table [heads, entries], at [groups, T, T]) with bias[g, h, t, u] = table[h, at[g, t, u]]."""
    groups, heads, tokens, _ = bias.shape
    columns = bias.swapaxes(0, 1).reshape(heads, -1)
    table, at = np.unique(columns, axis=1, return_inverse=True)
    dtype = np.uint8 if table.shape[1] <= 1 << 8 else np.uint16 if table.shape[1] <= 1 << 16 else np.int32
    return table, at.reshape(groups, tokens, tokens).astype(dtype)
