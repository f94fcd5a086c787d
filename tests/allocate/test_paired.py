"""Bounds of a drop of accuracy: the rule of three, known figures, and how often they hold."""

import functools
import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom

from lampq_tvm.allocate.paired import CONFIDENCE, Paired, least_images, upper_bound


def test_rule_of_three_where_nothing_is_lost():
    for n in (1, 10, 598, 5000):
        assert upper_bound(0, 0, n) == pytest.approx(1 - 0.05 ** (1 / n))
    assert least_images(0.5) == 598 and least_images(1) == 299 and least_images(100) == 1
    for points in (0.05, 0.5, 3, 40):
        n = least_images(points)
        assert Paired(0, 0, n).bound_points <= points < Paired(0, 0, n - 1).bound_points


def test_only_losses_give_the_exact_limit_of_one_share():
    for losses, n in ((1, 50), (3, 600), (20, 100)):
        bound = upper_bound(losses / n, 0, n)
        assert binom.cdf(losses, n, bound) == pytest.approx(1 - CONFIDENCE)


def test_gains_lower_the_bound_and_losses_raise_it():
    bounds = [Paired(losses, 5, 800).bound_points for losses in range(12)]
    assert bounds == sorted(bounds) and len(set(bounds)) == 12
    assert Paired(5, 9, 800).bound_points < Paired(5, 5, 800).bound_points
    assert all(Paired(k, k, 800).bound_points > Paired(0, 0, 800).bound_points for k in (1, 5, 50))
    assert Paired(10, 0, 10).bound_points == 100 and Paired(0, 10, 10).bound_points <= 0


@functools.cache
def bound(losses: int, gains: int, n: int) -> float:
    return upper_bound(losses / n, gains / n, n)


def coverage(p01: float, p10: float, n: int) -> float:
    """How often the bound holds: the sum over all counts of losses and gains, but for 1e-9."""
    found = 0.0
    for losses in range(int(binom.ppf(1 - 1e-10, n, p01)) + 1):
        top = int(binom.ppf(1 - 1e-10, n - losses, p10 / (1 - p01)))
        gains = np.arange(top + 1)
        chance = binom.pmf(losses, n, p01) * binom.pmf(gains, n - losses, p10 / (1 - p01))
        found += sum(p for p, g in zip(chance, gains, strict=True) if p > 1e-12 and bound(losses, int(g), n) >= p01 - p10)
    return found


@pytest.mark.parametrize("n", [100, 600])
def test_the_bound_holds_as_often_as_it_says(n):
    """Summed over every outcome, no sampling: few discordant images and many, losses alone and balanced."""
    for losses, gains in itertools.product((0.5, 2, 2.9, 3.1, 4.7, 6.3, 12), (0, 0.1, 0.7, 2, 5, 12)):
        assert coverage(losses / n, gains / n, n) >= CONFIDENCE, (losses, gains)


def test_it_holds_in_draws_too_and_is_not_wasteful():
    rng = np.random.default_rng(0)
    for p01, p10 in ((0.004, 0.0), (0.01, 0.006), (0.03, 0.03)):
        draws = rng.multinomial(1500, [p01, p10, 1 - p01 - p10], 2000)
        held = np.mean([bound(int(a), int(b), 1500) >= p01 - p10 for a, b, _ in draws])
        assert 0.945 <= held <= 0.995
        normal = math.sqrt((p01 + p10) / 1500) * 1.645  # half width for large counts
        assert np.mean([bound(int(a), int(b), 1500) - (a - b) / 1500 for a, b, _ in draws]) < 1.5 * normal


def test_how_many_images_would_be_enough():
    found = Paired(4, 1, 800)
    n = found.enough(0.6)
    assert n is not None and n > 800
    assert 100 * upper_bound(4 / 800, 1 / 800, n) <= 0.6 < 100 * upper_bound(4 / 800, 1 / 800, n * 97 // 100)
    assert Paired(8, 0, 800).enough(0.6) is None
    assert Paired(0, 0, 2000).enough(0.5) <= 2000
