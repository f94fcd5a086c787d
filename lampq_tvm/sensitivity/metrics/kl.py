"""Measured divergence: KL(float model || the same with one layer at (w, a)), the dearest and the most direct metric.

For separate pairs it is measured for w alone and for a alone and added: to second order the divergence is quadratic in
the output's error, and the errors of weights and activations are all but uncorrelated.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.network.model import Layer
from lampq_tvm.sensitivity.metric import METRICS, Metric
from lampq_tvm.sensitivity.pairs import pair_table

if TYPE_CHECKING:
    from lampq_tvm.sensitivity.context import Context
    from lampq_tvm.sensitivity.pieces import Piece

F64 = npt.NDArray[np.float64]


def measure(context: Context) -> tuple[F64, dict[str, Any]]:
    """The divergence of every pair that was asked for."""
    return context.mean_loss(lambda piece: divergences(context, piece)), {}


def divergences(context: Context, piece: Piece) -> F64:
    """Sum over a piece's images, [layers, w, a] float64; infinite where the pair was not asked for."""
    from lampq_tvm.calibrate.fake import quantized_layer
    from lampq_tvm.sensitivity.criteria import divergence
    from lampq_tvm.sensitivity.float_run import FloatRun

    calibration, widths, pairs, model = context.calibration, context.widths, context.pairs, context.calibration.model
    run: list[FloatRun] = []

    def one(layer: Layer, w_bits: int | None, a_bits: int | None) -> float:
        """One layer at one pair; None leaves a side in float."""
        if not run:
            run.append(FloatRun(model, piece.images(model)))
        output = run[0].with_layer(layer.name, quantized_layer(calibration, layer.name, w_bits, a_bits))
        return float(divergence(run[0].output, output, model.has_classifier).sum())

    def table(layer: Layer) -> dict[str, F64]:
        """One layer's [w, a]."""
        return {"loss": pair_table(pairs, layer, widths, partial(one, layer))}

    name = f"kl/{pairs.mode}/{pairs.a_bits}/{list(widths)}/{piece.key}"
    rows = (context.units.get(f"{name}/{x.name}", lambda x=x: table(x)) for x in model.layers)  # type: ignore[misc]
    return np.stack([row["loss"] for row in rows])


METRICS.add("kl", Metric(sees_activations=True, measure=measure))
