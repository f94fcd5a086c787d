"""Quantizers of probabilities: those that a softmax's table can hold, and the best of them for what was seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.quantizers.protocol import F64, Quantizer, find

STEPS = 255  # of the score index
NATS = 6.4  # exp(-6.4) * 255 is the first value that rounds to 0
SHARES: F64 = np.exp(-NATS * np.arange(STEPS + 1) / STEPS)  # probabilities relative to their row's largest, by score index


def probabilities(kind: str, bits: int) -> list[Quantizer]:
    """Quantizers of a name to try, the usual one first.

    Raises:
        UsageError: there is none.
    """
    return list(find(kind, "probabilities", "softmax").candidates(0.0, 1.0, bits))


def is_fitted(kind: str) -> bool:
    """Whether there is anything to choose but the name."""
    return len(probabilities(kind, 4)) > 1


def best_probabilities(kind: str, bits: int, weights: F64) -> Quantizer:
    """The one of least error.

    Args:
        weights: [256] how much an error of each of `SHARES` counts.

    Raises:
        UnsupportedError: a table can hold none of them.
    """
    tried, errors = probabilities(kind, bits), list[float]()
    for candidate in tried:
        levels = _levels(candidate)
        errors.append(float((weights * (levels / 255 - SHARES) ** 2).sum()) if _fits(levels) else np.inf)
    best = tried[int(np.argmin(errors))]
    softmax_table(best)
    return best


def softmax_table(quantizer: Quantizer) -> npt.NDArray[np.uint8]:
    """P [256]: unsigned 8-bit values of exp(-6.4 i / 255), P[0] > 0 and P[255] = 0; 255 times its values, rounded.

    Raises:
        UnsupportedError: its values leave 0 .. 1, or the largest probability becomes 0, by which no row could be divided.
    """
    levels = _levels(quantizer)
    if not _fits(levels):
        low, high, bits = levels.min() / 255, levels.max() / 255, quantizer.kind.bits
        what = f"the quantizer {quantizer.name} gives probabilities from {low:.3g} to {high:.3g} at {bits} bits"
        raise UnsupportedError(what, where="softmax", hint="its values must lie in 0 .. 1, and the largest must not be 0")
    table = levels.astype(np.uint8)
    table[-1] = 0
    return table


def _levels(quantizer: Quantizer) -> F64:
    return np.asarray(np.rint(255 * quantizer.values(quantizer.encode(SHARES))))


def _fits(levels: F64) -> bool:
    return bool(levels.min() >= 0 and levels.max() <= 255 and levels[0] > 0)
