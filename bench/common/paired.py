"""Two artifacts on the same images: how sure it is that one is right more often."""

from __future__ import annotations

import numpy as np

RESAMPLES = 10_000


def bits_of(text: str, count: int) -> np.ndarray:
    """Which of `count` images were right, from the hex digits that a row keeps: float64 [count]."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))[:count].astype(np.float64)


def interval(one: np.ndarray, other: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the difference in points, by the paired bootstrap: images are drawn anew, both answers of each together.

    Only images that one of the two alone gets right count; of `n` images their numbers are multinomial.

    >>> low, high = interval(np.ones(100), np.zeros(100))
    >>> (low, high)
    (100.0, 100.0)
    """
    n, gained, lost = len(one), int((one > other).sum()), int((one < other).sum())
    drawn = np.random.default_rng(seed).multinomial(n, [gained / n, lost / n, 1 - (gained + lost) / n], RESAMPLES)
    low, high = np.percentile(100 * (drawn[:, 0] - drawn[:, 1]) / n, [2.5, 97.5])
    return float(low), float(high)
