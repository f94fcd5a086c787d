"""What a metric is, and where they are found by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.registry import Registry

if TYPE_CHECKING:
    from lampq_tvm.sensitivity.context import Context


@dataclass(frozen=True)
class Metric:
    """A way to say what a layer's widths cost.

    Attributes:
        sees_activations: whether the loss depends on the activation width; where not, (w, a) must be tied or a fixed.
        measure: the loss [layers, widths (w), widths (a)] float64, lower is better, and the figures behind it.
        options: which of `recipes.schema.MetricOptions` it reads besides `name`.
    """

    sees_activations: bool
    measure: Callable[[Context], tuple[npt.NDArray[np.float64], dict[str, Any]]]
    options: tuple[str, ...] = ()


METRICS: Registry[str, Metric] = Registry("metric", "lampq_tvm.sensitivity.metrics")
