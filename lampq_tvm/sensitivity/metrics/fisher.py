"""The trace of a layer's Fisher information, plainly: LampQ's metric without what makes types of layers comparable.

Omega_i = tr(F_i), and a bit divides it by gamma. It shows what alpha_t adds (LampQ, Table 6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.progress import track
from lampq_tvm.sensitivity.decay import decaying
from lampq_tvm.sensitivity.metric import METRICS, Metric

if TYPE_CHECKING:
    from lampq_tvm.sensitivity.context import Context
    from lampq_tvm.sensitivity.pieces import Piece

F64 = npt.NDArray[np.float64]


def mean_traces(context: Context) -> F64:
    """tr(F_i) of every layer, the mean over images, [layers]."""
    from lampq_tvm.sensitivity.fisher import traces
    from lampq_tvm.sensitivity.pieces import spread_pieces

    model = context.calibration.model

    def of_piece(piece: Piece) -> F64:
        name = f"trace/{context.labels}/{context.seed}/{piece.key}"
        found = context.units.get(name, lambda: traces(model, piece, context.labels, context.seed))
        total: F64 = found["trace"].sum(1)
        return total

    total = np.zeros(len(model.layers))
    for part in track(spread_pieces(model, context.batches, context.jobs, of_piece), f"sensitivity ({context.options.name})"):
        total += part / context.images
    return total


def measure(context: Context) -> tuple[F64, dict[str, Any]]:
    """The table, and the traces."""
    trace = mean_traces(context)
    names = [layer.name for layer in context.calibration.model.layers]
    found = {"trace": dict(zip(names, trace.tolist(), strict=True)), "gamma": context.options.gamma}
    return decaying(np.maximum(trace, 1e-9 * trace.max()), context.options.gamma, context.widths), found


METRICS.add("fisher", Metric(sees_activations=False, measure=measure, options=("labels", "gamma")))
