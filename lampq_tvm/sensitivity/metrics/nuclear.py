"""PTQ for Vision Transformers (Liu et al., NeurIPS 2021): the nuclear norm of a layer's output times its squared error.

The paper weighs whole modules, attention maps and features of an MLP; here every layer by its own output, on the rows that
calibration sampled. Its ranking loss of attention guides a search of scales, not widths (`criteria.ranking_loss`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.network.model import Layer
from lampq_tvm.progress import track
from lampq_tvm.sensitivity.metric import METRICS, Metric
from lampq_tvm.spread import spread

if TYPE_CHECKING:
    from lampq_tvm.sensitivity.context import Context

F64 = npt.NDArray[np.float64]


def layer_loss(context: Context, layer: Layer) -> F64:
    """sum_j sigma_j(Y) || Y' - Y ||_F^2 over the sample rows, [w, a]."""
    import torch

    from lampq_tvm.calibrate.fake import fake_quantize_layer

    rows = torch.from_numpy(context.calibration.samples[layer.name])
    real = context.calibration.model.tensors[f"{layer.name}.weight"]
    exact = torch.from_numpy(real.reshape(len(real), -1))
    widths = context.widths
    with torch.no_grad():
        y = rows @ exact.T
        norm = float(torch.linalg.svdvals(y.double()).sum())
        pairs = [fake_quantize_layer(context.calibration, layer.name, b, 8 if layer.reads_image else b) for b in widths]
        inputs = [act(rows) for _, act in pairs]
        found = np.zeros((len(widths), len(widths)))
        for w, (weight, _) in enumerate(pairs):
            for a, x in enumerate(inputs[:1] if layer.reads_image else inputs):
                found[w, a] = norm * float((x @ torch.from_numpy(weight).T - y).square().sum(dtype=torch.float64))
    return np.repeat(found[:, :1], len(widths), axis=1) if layer.reads_image else found


def measure(context: Context) -> tuple[F64, dict[str, Any]]:
    """The table."""
    layers = context.calibration.model.layers

    def one(layer: Layer) -> F64:
        name = f"nuclear/{list(context.widths)}/{layer.name}"
        return context.units.get(name, lambda: {"loss": layer_loss(context, layer)})["loss"]

    found = track(spread(one, layers, context.jobs, lambda layer: layer.name), "sensitivity (nuclear)", len(layers))
    return np.stack(list(found)), {}


METRICS.add("nuclear", Metric(sees_activations=True, measure=measure))
