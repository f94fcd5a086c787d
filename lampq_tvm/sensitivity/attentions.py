"""What a bit of an attention's operands is worth: KL(float model || the same with one attention at a width), measured."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.calibrate.fake import quantized_attention
from lampq_tvm.network.operators.attention import Attends
from lampq_tvm.progress import track
from lampq_tvm.sensitivity.criteria import divergence
from lampq_tvm.sensitivity.float_run import FloatRun
from lampq_tvm.sensitivity.pieces import Batches, Piece, spread_pieces
from lampq_tvm.sensitivity.table import Sensitivity
from lampq_tvm.spread import one_thread
from lampq_tvm.store import Units

F64 = npt.NDArray[np.float64]


@one_thread()
def attention_losses(
    calibration: Calibration,
    batches: Batches,
    *,
    softmax: Mapping[int, Mapping[str, str]],
    units: Units,
    jobs: int | None = None,
) -> Sensitivity:
    """Loss of every attention at every width of `softmax`; q, k, v and p have one width, so only [attention, w, w] is finite.

    Args:
        softmax: width -> attention -> name of the quantizer of its p.

    Raises:
        UsageError: there is no image.
    """
    model, widths = calibration.model, tuple(sorted(softmax))
    names = tuple(op.name for op in model.ops if isinstance(op, Attends))

    def losses(piece: Piece) -> F64:
        run = FloatRun(model, piece.images(model))
        outputs = [[run.with_layer(n, quantized_attention(calibration, n, b, softmax[b][n])) for b in widths] for n in names]
        return np.array([[divergence(run.output, x, model.has_classifier).sum() for x in row] for row in outputs])

    def of_piece(piece: Piece) -> tuple[int, F64]:
        return len(piece.pixels), units.get(f"attentions/{list(widths)}/{piece.key}", lambda: {"loss": losses(piece)})["loss"]

    total, images = np.zeros((len(names), len(widths))), 0
    for count, part in track(spread_pieces(model, batches, jobs, of_piece), "sensitivity (attention)"):
        total, images = total + part, images + count
    table = np.full((len(names), len(widths), len(widths)), np.inf)
    table[:, range(len(widths)), range(len(widths))] = total / images
    return Sensitivity("kl", True, names, widths, table, {"images": images})
