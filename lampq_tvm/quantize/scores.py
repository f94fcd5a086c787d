"""Constants of attention scores: the steps of their index, and what the model adds to them, in the units of their sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.quantizers.probabilities import NATS, STEPS

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]
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
    with np.errstate(invalid="ignore"):
        codes = np.rint(bias.astype(np.float64) / unit[:, None, None])
    return _masked(bias, codes).astype(np.int32)


def exponent_bias(bias: npt.NDArray[np.float32]) -> F32:
    """Bias [groups, heads, T, T] in exponents of two, for float16 scores: times log2(e), clamped and masked as `score_bias`."""
    return _masked(bias, bias.astype(np.float64) / math.log(2)).astype(np.float32)


def _masked(bias: npt.NDArray[np.float32], units: F64) -> F64:
    """`units` of a bias, clamped, and -2^30 where it masks a score."""
    real = bias.astype(np.float64)
    masked = real <= real.max(-1, keepdims=True) - MASKED_NATS
    return np.where(masked, MASKED, np.nan_to_num(np.clip(units, -LARGEST, LARGEST)))


def distinct(bias: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """What is different in a bias of scores, once, and where it goes.

    Patterns and entries are numbered as they first appear, so that layers whose tables differ still have equal places.

    Args:
        bias: [groups, heads, T, T] of any dtype.

    Returns:
        (table [heads, entries] of the bias's dtype, at [patterns, T, T], pattern [groups]), the latter two of the narrowest
        unsigned dtype, with bias[g, h, t, u] = table[h, at[pattern[g], t, u]].
    """
    heads, tokens = bias.shape[1:3]
    patterns, pattern = _first_seen(bias.reshape(len(bias), -1))
    columns = patterns.reshape(-1, heads, tokens * tokens).swapaxes(1, 2).reshape(-1, heads)
    table, at = _first_seen(columns)
    return np.ascontiguousarray(table.T), at.reshape(-1, tokens, tokens), pattern


def _first_seen(rows: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """(distinct rows in the order in which they first appear, number of each row)."""
    whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.itemsize * rows.shape[1])))  # unique(axis=0) is slow
    _, first, numbers = np.unique(whole.reshape(-1), return_index=True, return_inverse=True)
    order = np.argsort(first)
    places = np.empty(len(order), np.min_scalar_type(len(order) - 1))
    places[order] = np.arange(len(order))
    return rows[first[order]], places[numbers.reshape(-1)]
