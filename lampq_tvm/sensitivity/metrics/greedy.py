"""Layers measured among quantized ones: what a layer costs where all others are already at few bits.

MPTQ-ViT (2024) lowers widths greedily by a score that it takes in the quantized network and that is not public; ours stands in
for it: KL(float || all layers at `AMONG` bits, this one at (w, a)) less the same with this one in float, at least 0. Unlike
`kl` it sees what the others' errors leave of a layer's own. For separate pairs w alone and a alone are measured and added.
"""

from __future__ import annotations

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
AMONG = 4  # bits of the other layers, or the nearest that a plan may take


def measure(context: Context) -> tuple[F64, dict[str, Any]]:
    """The table, and the pairs that the other layers had."""
    others = others_at(context)
    names = {name: f"{w}/{a}" for name, (w, a) in others.items()}

    def of_piece(piece: Piece) -> F64:
        key = f"greedy/{context.pairs.mode}/{context.pairs.a_bits}/{list(context.widths)}/{piece.key}"
        return context.units.get(key, lambda: {"loss": losses(context, piece, others)})["loss"]

    return np.maximum(context.mean_loss(of_piece), 0), {"others": names}


def others_at(context: Context) -> dict[str, tuple[int, int]]:
    """Widths of each layer while another one is measured."""
    layers = context.calibration.model.layers
    choices = zip(layers, context.pairs.of_layers(layers, context.widths), strict=True)
    return {x.name: min(pairs, key=lambda p: (abs(p[0] - AMONG) + abs(p[1] - AMONG), p)) for x, pairs in choices}


def losses(context: Context, piece: Piece, others: dict[str, tuple[int, int]]) -> F64:
    """Sum over a piece's images, [layers, w, a]; infinite where no plan takes the pair."""
    import torch

    from lampq_tvm.calibrate.fake import quantized_layer
    from lampq_tvm.network.execute import run_float
    from lampq_tvm.sensitivity.criteria import divergence
    from lampq_tvm.sensitivity.float_run import FloatRun

    calibration, model = context.calibration, context.calibration.model
    images = piece.images(model)
    with torch.no_grad():
        exact = run_float(model, images)
    run = FloatRun(model, images, {name: quantized_layer(calibration, name, *pair) for name, pair in others.items()})

    def one(layer: Layer, w: int | None, a: int | None) -> float:
        function = None if w is None and a is None else quantized_layer(calibration, layer.name, w, a)
        output = run.with_layer(layer.name, function)
        return float(divergence(exact, output, model.has_classifier).sum())

    def table(layer: Layer) -> F64:
        without = one(layer, None, None)
        return pair_table(context.pairs, layer, context.widths, lambda w, a: one(layer, w, a) - without)

    return np.stack([table(layer) for layer in model.layers])


METRICS.add("greedy", Metric(sees_activations=True, measure=measure))
