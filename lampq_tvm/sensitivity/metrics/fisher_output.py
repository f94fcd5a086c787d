"""The Fisher metric seen through a layer's output: E[(g . dY)^2], which knows what activations cost.

A quantized layer gives Y + dY. To second order the loss it causes is half E[(g . dY)^2], with g the gradient of the
log-likelihood by the layer's output and the product taken over all tokens and channels of one image. With
x' = x + dx the input at a bits and W' = W + dW the weights at w bits, dY = dx W'^T + x dW^T, hence
g . dY = <G^T dX, W'> + <G^T X, dW>: one product per width, then every pair (w, a) at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.network.model import Layer
from lampq_tvm.sensitivity.metric import METRICS, Metric

if TYPE_CHECKING:
    from torch import Tensor

    from lampq_tvm.sensitivity.context import Context
    from lampq_tvm.sensitivity.pieces import Piece

F64 = npt.NDArray[np.float64]


def measure(context: Context) -> tuple[F64, dict[str, Any]]:
    """Half of E[(g . dY)^2], the second-order divergence: the unit of `kl`."""

    def of_piece(piece: Piece) -> F64:
        name = f"fisher_output/{context.labels}/{context.seed}/{list(context.widths)}/{piece.key}"
        return 0.5 * context.units.get(name, lambda: output_errors(context, piece))["error"]

    return context.mean_loss(of_piece), {}


def output_errors(context: Context, piece: Piece) -> dict[str, F64]:
    """Sum over a piece's images of (g . dY)^2: `error` [layers, w, a] float64; an image's a (always 8) fills its row."""
    import torch

    from lampq_tvm.sensitivity.fisher import inputs_and_gradients, score_loss

    calibration, model = context.calibration, context.calibration.model
    loss = score_loss(model, piece, context.labels, context.seed)
    found = inputs_and_gradients(model, piece.images(model), loss)
    with torch.no_grad():
        rows = [_layer(calibration, layer, *found[layer.name], context.widths) for layer in model.layers]
    return {"error": np.stack(rows)}


def _layer(calibration: Calibration, layer: Layer, x: Tensor, g: Tensor, widths: Sequence[int]) -> F64:
    """One layer's [w, a]; x: [B, T, K], g: [B, T, N]."""
    import torch

    from lampq_tvm.calibrate.fake import fake_quantize_layer
    from lampq_tvm.network.execute import model_tensors

    exact = model_tensors(calibration.model)[f"{layer.name}.weight"].flatten(1)
    pairs = [fake_quantize_layer(calibration, layer.name, b, 8 if layer.reads_image else b) for b in widths]
    weights = torch.stack([torch.from_numpy(weight) for weight, _ in pairs])
    turned = g.transpose(1, 2)
    by_weight = torch.bmm(turned, x).flatten(1) @ (weights - exact).flatten(1).T  # [B, w]
    total = by_weight[:, :, None].double().expand(-1, -1, len(widths)).clone()
    if not layer.reads_image:
        for a, (_, act) in enumerate(pairs):
            total[:, :, a] += torch.bmm(turned, act(x) - x).flatten(1) @ weights.flatten(1).T
    return total.square().sum(0).numpy()


METRICS.add("fisher_output", Metric(sees_activations=True, measure=measure, options=("labels",)))
