"""Layer-wise relevance (LRP-QViT, 2024): what a layer's output contributes to the answer, as gradient times value.

Omega_i is the mean over images of the sum of |g y| over a layer's outputs y, g the gradient of the log-likelihood by them, and
a bit divides it by gamma. Published: bits in proportion to the score; how relevance is propagated is not public in full.
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


def relevances(context: Context, piece: Piece) -> dict[str, F64]:
    """Sum over a piece's images of each layer's relevance: `relevance` [layers]."""
    import torch

    from lampq_tvm.network.execute import model_tensors
    from lampq_tvm.sensitivity.fisher import inputs_and_gradients, score_loss

    model = context.calibration.model
    found = inputs_and_gradients(model, piece.images(model), score_loss(model, piece, context.labels, context.seed))
    tensors, sums = model_tensors(model), []
    with torch.no_grad():
        for layer in model.layers:
            x, g = found[layer.name]
            y = x @ tensors[f"{layer.name}.weight"].flatten(1).T + tensors[f"{layer.name}.bias"]
            sums.append(float((g * y).abs().sum(dtype=torch.float64)))
    return {"relevance": np.array(sums)}


def measure(context: Context) -> tuple[F64, dict[str, Any]]:
    """The table, and each layer's relevance."""
    from lampq_tvm.sensitivity.pieces import spread_pieces

    model = context.calibration.model

    def of_piece(piece: Piece) -> F64:
        name = f"relevance/{context.labels}/{context.seed}/{piece.key}"
        return context.units.get(name, lambda: relevances(context, piece))["relevance"]

    total = np.zeros(len(model.layers))
    for part in track(spread_pieces(model, context.batches, context.jobs, of_piece), "sensitivity (relevance)"):
        total += part / context.images
    found = {"relevance": dict(zip((layer.name for layer in model.layers), total.tolist(), strict=True))}
    return decaying(np.maximum(total, 1e-9 * total.max()), context.options.gamma, context.widths), found


METRICS.add("relevance", Metric(sees_activations=False, measure=measure, options=("labels", "gamma")))
