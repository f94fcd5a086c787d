"""HAWQ-V2 (NeurIPS 2020): the mean trace of a layer's Hessian times the squared change of its weights.

Published code estimates the Hessian's trace by Hutchinson's method; here the Fisher's stands for it, which it comes close to
where the loss is a log-likelihood (Lemma 2 of LampQ).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.network.model import Layer
from lampq_tvm.sensitivity.metric import METRICS, Metric
from lampq_tvm.sensitivity.metrics.fisher import mean_traces

if TYPE_CHECKING:
    from lampq_tvm.sensitivity.context import Context

F64 = npt.NDArray[np.float64]


def weight_errors(context: Context, layer: Layer) -> F64:
    """|| Q(W) - W ||_F^2 of a layer at every width, [widths]."""
    from lampq_tvm.calibrate.fake import fake_quantize_layer

    real = context.calibration.model.tensors[f"{layer.name}.weight"]
    exact = real.reshape(len(real), -1).astype(np.float64)
    found = [fake_quantize_layer(context.calibration, layer.name, bits, 8)[0] for bits in context.widths]
    return np.array([float(np.square(values - exact).sum()) for values in found])


def measure(context: Context) -> tuple[F64, dict[str, Any]]:
    """The table, and the traces."""
    layers, trace = context.calibration.model.layers, mean_traces(context)
    rows = [trace[i] / layer.params * weight_errors(context, layer) for i, layer in enumerate(layers)]
    loss = np.repeat(np.stack(rows)[:, :, None], len(context.widths), axis=2)
    return loss, {"trace": dict(zip((layer.name for layer in layers), trace.tolist(), strict=True))}


METRICS.add("hawq", Metric(sees_activations=False, measure=measure, options=("labels",)))
