"""How much accuracy a network may have lost, from paired right and wrong answers on n images.

With p01 the share of images that only the float model gets right and p10 the share that only the integer network does, the
drop is p01 - p10. Its one-sided upper bound is put together from the limits of both shares by the method of variance
estimates recovery (Newcombe, Statist. Med. 17 (1998) 2635, method 10; Zou and Donner, Statist. Med. 27 (2008) 1693), with the
exact limits of Clopper and Pearson (Biometrika 26 (1934) 404), which hold at small counts where a normal approximation fails:

    U = p01' - p10' + sqrt((u01 - p01')^2 + (p10' - l10)^2 + 2 r (u01 - p01') (p10' - l10)),

u01 the upper limit of p01, l10 the lower one of p10, and -r the correlation of the two counts of one multinomial,
r = sqrt(p01' p10' / ((1 - p01') (1 - p10'))). Without a loss or a gain it is 1 - 0.05^(1/n), the "rule of three" 3 / n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.stats import beta

CONFIDENCE = 0.95  # one-sided
LARGEST = 10**7  # images; more are as good as none


@dataclass(frozen=True)
class Paired:
    """What two networks answered on the same images.

    Attributes:
        losses: images that only the first gets right; gains: that only the second does.
        n: images.
    """

    losses: int
    gains: int
    n: int

    def __str__(self) -> str:
        """The drop, its bound and the counts, for a person."""
        counts = f"{self.losses} losses, {self.gains} gains on {self.n} held-back images"
        return f"{self.drop_points:.2f} points, at most {self.bound_points:.2f} with {CONFIDENCE:.0%} confidence ({counts})"

    @property
    def drop_points(self) -> float:
        """Accuracy lost, in points, on these images."""
        return 100 * (self.losses - self.gains) / self.n

    @property
    def bound_points(self) -> float:
        """The most that was lost, in points, with `CONFIDENCE`."""
        return 100 * upper_bound(self.losses / self.n, self.gains / self.n, self.n)

    def enough(self, points: float) -> int | None:
        """How many images would show a drop within `points` if losses and gains kept their shares; None where none would."""
        if self.drop_points >= points:
            return None

        def holds(n: int) -> bool:
            return 100 * upper_bound(self.losses / self.n, self.gains / self.n, n) <= points

        low, high = 0, max(1, self.n)
        while not holds(high):
            low, high = high, 2 * high
            if high > LARGEST:
                return None
        while high - low > max(1, high // 100):
            middle = (low + high) // 2
            low, high = (low, middle) if holds(middle) else (middle, high)
        return high


def upper_bound(loss_share: float, gain_share: float, n: int, confidence: float = CONFIDENCE) -> float:
    """Upper bound of the drop (the module's formula), a share of 1.

    Args:
        loss_share, gain_share: p01' and p10'; their products with `n` need not be whole.
        n: images; confidence: one-sided.

    >>> round(upper_bound(0, 0, 600), 5)
    0.00498
    """
    losses, gains = loss_share * n, gain_share * n
    upper = 1.0 if losses >= n else float(beta.ppf(confidence, losses + 1, n - losses))
    lower = 0.0 if gains <= 0 else float(beta.ppf(1 - confidence, gains, n - gains + 1))
    up, down = upper - loss_share, gain_share - lower
    rest = (1 - loss_share) * (1 - gain_share)
    together = math.sqrt(loss_share * gain_share / rest) if rest > 0 else 1.0
    return min(1.0, loss_share - gain_share + math.sqrt(up * up + down * down + 2 * together * up * down))


def least_images(points: float) -> int:
    """Images below which not even a network without a single loss shows a drop within `points`; about 3 / drop.

    >>> least_images(0.5)
    598
    """
    drop = min(points / 100, 1 - 1e-9)
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-drop) - 1e-9)
