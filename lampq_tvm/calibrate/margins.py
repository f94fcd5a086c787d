"""Ranges that few images showed, widened to what `ENOUGH` images would be expected to show.

The range of n values grows with n: for normal ones it is d2(n) standard deviations wide (Tippett, "On the extreme individuals
and the range of samples taken from a normal population", Biometrika 1925). So a channel's deviation is its range over d2(n),
and its range in `ENOUGH` images is that times d2(ENOUGH). A deviation from few values is itself uncertain; it is moderated by a
prior one that the weights give, as variances are in Smyth, "Linear models and empirical Bayes methods", 2004. Both vanish
as the images reach `ENOUGH`: from there on every range is what was seen.

Equal images count once, and equal patches too: a constant image is one value, whose range is the prior's.
"""

from __future__ import annotations

import dataclasses
from statistics import NormalDist

import numpy as np

from lampq_tvm.calibrate.novelty import ENOUGH
from lampq_tvm.calibrate.range_rules import DEVIATIONS, F64, MEANS, RANGES, Range
from lampq_tvm.network.model import Function, ImportedModel, Op
from lampq_tvm.network.op import FloatOp
from lampq_tvm.network.seen import Seen

PRIOR_VALUES = 8.0  # how many values the prior deviation is worth


def widen(model: ImportedModel, seen: Seen) -> Seen:
    """The same statistics with margins on `low` and `high`; the argument is not changed."""
    images = len(seen.distinct["images"])
    if images >= ENOUGH:
        return seen
    wide = dataclasses.replace(seen, low=dict(seen.low), high=dict(seen.high))
    share = min(1.0, len(seen.distinct["patches"]) / (images * seen.tokens["patches"]))
    for op in model.ops:
        if op.name in seen.low and not op.reads_image:
            mixed = type(model.op(op.inputs[0])) in MEANS  # each row is a mean over the image: one value an image
            tokens = 1.0 if mixed else max(1.0, share * seen.tokens[op.name])
            low, high = _widened(model, wide, op, images * tokens, ENOUGH * tokens)
            wide.low[op.name], wide.high[op.name] = low.astype(np.float32), high.astype(np.float32)
    return wide


def _widened(model: ImportedModel, wide: Seen, op: Op, count: float, enough: float) -> Range:
    """Range [K] of one operator's input; those before it are widened already."""
    low, high = _ends(wide, op.name)
    source, is_layer = model.op(op.inputs[0]), isinstance(op, FloatOp) and op.layer_type is not None
    through, mean = (rules.get(type(source)) if is_layer else None for rules in (RANGES, MEANS))
    if through is not None:
        least, most = through(source, wide.low[source.name], wide.high[source.name])
        return np.minimum(low, least), np.maximum(high, most)
    found = margin(low, high, count, enough, _prior(model, op, low, high))
    if mean is not None:
        least, most = mean(source, *_ends(wide, source.name))
        return np.minimum(low, np.maximum(found[0], least)), np.maximum(high, np.minimum(found[1], most))
    return found


def _ends(seen: Seen, name: str) -> Range:
    """Smallest and largest values [K] of an operator's input."""
    return seen.low[name].astype(np.float64), seen.high[name].astype(np.float64)


def margin(low: F64, high: F64, count: float, enough: float, prior: F64) -> Range:
    """Ranges [K] that `count` values showed as `enough` values are expected to.

    Args:
        low, high: [K] smallest and largest value of each channel.
        count, enough: numbers of different values, not above each other.
        prior: [K] standard deviations to moderate by; their common scale comes from the data where `count` is large.
    """
    seen = ((high - low) / normal_range(max(count, 2.0))) ** 2
    ratio = float(seen.mean()) / max(float((prior**2).mean()), 1e-30)
    scale = ((count - 1) * ratio + PRIOR_VALUES) / (count - 1 + PRIOR_VALUES)
    excess = max(1 / count - 1 / enough, 0.0)
    weight = excess / (excess + 1 / PRIOR_VALUES)
    wide = student(normal_range(enough) / 2, count - 1 + PRIOR_VALUES) * (1 + 1 / count) ** 0.5
    half = np.sqrt((1 - weight) * seen + weight * scale * prior**2) * wide
    centre = (low + high) / 2
    return np.minimum(low, centre - half), np.maximum(high, centre + half)


def normal_range(count: float) -> float:
    """d2: the expected range of `count` normal values in standard deviations, by Blom's approximation (1958)."""
    return 2 * NormalDist().inv_cdf((count - 0.375) / (count + 0.25))


def student(z: float, freedom: float) -> float:
    """The t that lies as far out as z of a normal value, for 8 or more degrees of freedom (Cornish and Fisher, 1937)."""
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def _prior(model: ImportedModel, op: Op, low: F64, high: F64) -> F64:
    """Standard deviations [K] of an operator's input as far as the weights tell them.

    A LayerNorm's output has |gamma| in the mean over channels, and a layer behind one that of its weights times gamma. Of any
    other value only how far its channels lie apart is known.
    """
    found = _deviation(model, op.inputs[0])
    if found is not None and isinstance(op, Function):
        found = op.argument(found)
    if found is None or len(found) != len(low) or not found.any():
        middle = (low + high) / 2
        found = np.full(len(low), max(float(middle.std()), 1e-3 * float(np.abs(middle).max()), 1e-8))
    return found


def _deviation(model: ImportedModel, name: str) -> F64 | None:
    """Standard deviations of a value as far as the weights tell them; None where they do not."""
    op = model.op(name)
    rule = DEVIATIONS.get(type(op))
    return None if rule is None else rule(model, op, lambda before: _deviation(model, before))
