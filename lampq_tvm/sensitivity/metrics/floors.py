"""What every metric must beat: layers alike, and layers at random.

`uniform` counts a layer by its parameters, so that a budget of bits gives all layers the same width as far as it can; `random`
multiplies that by a number of its own for each layer, drawn by the seed, whose logarithm is spread as those of real metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.sensitivity.decay import decaying
from lampq_tvm.sensitivity.metric import METRICS, Metric

if TYPE_CHECKING:
    from lampq_tvm.sensitivity.context import Context

F64 = npt.NDArray[np.float64]
SPREAD = 1.5  # standard deviation of the natural logarithm: some two bits between most layers at gamma 4


def _params(context: Context) -> F64:
    return np.array([layer.params for layer in context.calibration.model.layers], np.float64)


def measure_uniform(context: Context) -> tuple[F64, dict[str, Any]]:
    """All parameters alike."""
    return decaying(_params(context), context.options.gamma, context.widths), {}


def measure_random(context: Context) -> tuple[F64, dict[str, Any]]:
    """A factor for each layer."""
    sizes = _params(context)
    drawn = np.random.default_rng(context.seed).normal(0, SPREAD, len(sizes))
    return decaying(sizes * np.exp(drawn), context.options.gamma, context.widths), {"seed": context.seed}


METRICS.add("uniform", Metric(sees_activations=False, measure=measure_uniform, options=("gamma",)))
METRICS.add("random", Metric(sees_activations=False, measure=measure_random, options=("gamma",)))
