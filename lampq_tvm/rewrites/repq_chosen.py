"""Reparameterization as far as it pays: each input's channels come as near to a common range as its readers round best.

What equal channels win where inputs are narrow, their factors r may lose in the weights, whose columns take them. Between none
of it and all of `repq`'s lie the factors r^p, as SmoothQuant's strength does between inputs and weights (ICML 2023).
"""

from __future__ import annotations

import itertools

import numpy as np

from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.seen import Seen
from lampq_tvm.quantizers.uniform import Uniform
from lampq_tvm.rewrites.channels import F32, F64, Input, change_channels
from lampq_tvm.rewrites.repq import channel_map
from lampq_tvm.rewrites.rewrite import REWRITES

POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
CHOICE = ((4, 4), (4, 8))  # widths of weights and inputs that a choice is judged at
ROWS = 256
SHRINK = (1.0, 0.8, 0.62, 0.48)  # fractions of a range's ends


@REWRITES.register("repq_chosen")
def reparameterize_as_chosen(model: ImportedModel, seen: Seen) -> tuple[ImportedModel, Seen]:
    """(the same function with inputs equalized as far as that pays, its ranges and samples). Neither argument is changed."""
    return change_channels(model, seen, best_map)


def best_map(x: Input) -> tuple[F64, F64]:
    """(centre [K], r [K]): none or a power of the mean range's map, whichever costs its readers' outputs least.

    Errors at several widths are multiplied, so that each has its say whatever its size.
    """
    centre, full = channel_map(x, float((x.high - x.low).mean()))
    tried = [(np.zeros_like(centre), np.ones_like(full)), *((centre, full**power) for power in POWERS)]
    errors = [sum(np.log(spread_lost(x, *change, *bits)) for bits in CHOICE) for change in tried]
    return tried[int(np.argmin(errors))]


def spread_lost(x: Input, centre: F64, r: F64, w_bits: int, a_bits: int) -> float:
    """Variance over sample rows of Q(X') Q(W')^T - X' W'^T, X' = (X - centre) / r and W' = W r: biases make up for its mean."""
    rows, weights = ((x.rows[:ROWS] - centre) / r).astype(np.float32), (x.weights * r).astype(np.float32)
    ends = float(((x.low - centre) / r).min()), float(((x.high - centre) / r).max())
    narrow = rounded_weights(weights, np.square(rows).mean(0), w_bits)
    wrong = rounded_rows(rows, ends, np.square(weights).sum(0), a_bits) @ narrow.T - rows @ weights.T
    return max(float(wrong.var(0).sum()), 1e-20)


def rounded_weights(weights: F32, moments: F32, bits: int) -> F32:
    """Weights [N, K] at symmetric scales, each row's the best of a few for inputs of second moments [K]."""
    top, least = np.maximum(np.abs(weights).max(1, keepdims=True), 1e-12), np.full(len(weights), np.inf)
    low, high, best = -(1 << (bits - 1)), (1 << (bits - 1)) - 1, weights
    for share in SHRINK:
        scale = top * share / (high + 0.5)
        found = np.rint(weights / scale).clip(low, high) * scale
        error = np.square(found - weights) @ moments
        best, least = np.where((error < least)[:, None], found, best), np.minimum(error, least)
    return best.astype(np.float32)


def rounded_rows(rows: F32, ends: tuple[float, float], importance: F32, bits: int) -> F32:
    """Rows [R, K] as calibration quantizes them: at 8 bits over the whole range, below it at the best of a few fractions of its
    ends, where errors of channels count by `importance` [K]."""
    shares = SHRINK if bits < 8 else (1.0,)
    tried = (Uniform.of_range(ends[0] * a, ends[1] * b, bits) for a, b in itertools.product(shares, shares))
    found = [q.values(q.encode(rows)).astype(np.float32) for q in tried]
    errors = [float(np.square(values - rows).sum(0) @ importance) for values in found]
    return found[int(np.argmin(errors))]
