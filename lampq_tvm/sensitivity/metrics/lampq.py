"""LampQ's type-aware Fisher metric: Omega_i = alpha_t tr(F_i), and a bit divides it by gamma.

alpha_t = A(t) / tr(F(t)): the average drop of accuracy when one of mu layers of type t is quantized to beta bits, over
the average trace of these layers, so that layers of different types become comparable (LampQ, Sec. "I2"; the loss at
b bits is gamma^-b Omega_i, Sec. "I3"). The trace is the sum over a layer's weights: no factor c_i joins it, since the
budget's row already weighs a bit by c_i.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.network.model import ImportedModel, Layer
from lampq_tvm.progress import track
from lampq_tvm.sensitivity.decay import decaying
from lampq_tvm.sensitivity.metric import METRICS, Metric

if TYPE_CHECKING:
    from lampq_tvm.sensitivity.context import Context
    from lampq_tvm.sensitivity.pieces import Piece

F64 = npt.NDArray[np.float64]
SOURCES = ("accuracy", "loss", "divergence")  # of A(t): the columns of `drops`
TINY = 1e-30
FLOOR = 1e-3  # of the largest type's figure: the least that a type counts


def sampled_layers(model: ImportedModel, mu: int) -> dict[str, list[Layer]]:
    """Per type at most mu of its layers, evenly spaced over the depth, types in the order of the layer table."""
    by_type: dict[str, list[Layer]] = {}
    for layer in model.layers:
        by_type.setdefault(layer.type, []).append(layer)
    return {
        kind: [layers[i] for i in dict.fromkeys(np.linspace(0, len(layers) - 1, min(mu, len(layers))).round().astype(int))]
        for kind, layers in by_type.items()
    }


def drops(context: Context, piece: Piece, layers: Sequence[Layer], pair: tuple[int, int]) -> dict[str, F64]:
    """What quantizing each layer alone does to a piece: sums over images and sums of squares, float64 [2, 3].

    The three columns are images lost (right before, minus right after), the rise of the cross entropy, and KL(float ||
    quantized), the rise that is expected under labels drawn from the model. Without usable labels the first two are 0.
    """
    from lampq_tvm.calibrate.fake import quantized_layer
    from lampq_tvm.sensitivity.criteria import divergence, hits, nll
    from lampq_tvm.sensitivity.float_run import FloatRun

    calibration, empirical = context.calibration, context.labels_used
    model = calibration.model
    run: list[FloatRun] = []

    def measure(layer: Layer) -> dict[str, F64]:
        """One layer; the float run is shared, and made only where a layer is not yet known."""
        if not run:
            run.append(FloatRun(model, piece.images(model)))
        base, output = run[0].output, run[0].with_layer(layer.name, quantized_layer(calibration, layer.name, *pair))
        figures = np.zeros((3, len(base)))
        figures[2] = divergence(base, output, model.has_classifier)
        if empirical and piece.labels is not None:
            figures[0] = hits(base, piece.labels) - hits(output, piece.labels)
            figures[1] = nll(output, piece.labels) - nll(base, piece.labels)
        return {"drops": np.stack([figures.sum(1), (figures**2).sum(1)])}

    name = f"drop/{pair[0]}/{pair[1]}/{int(empirical)}/{piece.key}"
    return {x.name: context.units.get(f"{name}/{x.name}", lambda x=x: measure(x))["drops"] for x in layers}  # type: ignore[misc]


def omegas(
    model: ImportedModel, trace: F64, lost: dict[str, tuple[float, float]], sampled: dict[str, list[Layer]]
) -> tuple[F64, dict[str, Any]]:
    """Omega of every layer, and the alphas.

    A(t) is noisy and may come out as zero or negative, which would strip a whole type of its bits: it counts as no less
    than its standard error, and than `FLOOR` of the largest type's. A type whose sampled layers have no trace at all
    spreads A(t) evenly.

    Args:
        trace: tr(F_i) per layer, [layers].
        lost: what quantizing a sampled layer costs, and the standard error of that, per layer.
        sampled: the sampled layers per type.
    """
    index = {layer.name: i for i, layer in enumerate(model.layers)}
    raw = {kind: float(np.mean([lost[x.name][0] for x in layers])) for kind, layers in sampled.items()}
    noise = {kind: math.hypot(*(lost[x.name][1] for x in layers)) / len(layers) for kind, layers in sampled.items()}
    means = {kind: float(np.mean([trace[index[x.name]] for x in layers])) for kind, layers in sampled.items()}
    least = max(FLOOR * max(raw.values()), TINY)
    guarded = {kind: max(value, noise[kind], least) for kind, value in raw.items()}
    shares = [trace[i] / means[x.type] if means[x.type] > 0 else 1.0 for i, x in enumerate(model.layers)]
    omega = np.array([guarded[x.type] * share for x, share in zip(model.layers, shares, strict=True)])
    alpha = {kind: guarded[kind] / means[kind] if means[kind] > 0 else None for kind in raw}
    details = {"A": raw, "A_standard_error": noise, "A_guarded": guarded, "alpha": alpha, "mean_trace": means}
    return np.maximum(omega, 1e-9 * omega.max()), details


def measure_lampq(context: Context) -> tuple[F64, dict[str, Any]]:
    """The table [layers, w, a] (the same for every a) and the figures behind it."""
    from lampq_tvm.sensitivity.fisher import traces
    from lampq_tvm.sensitivity.pieces import spread_pieces

    model, widths, options = context.calibration.model, context.widths, context.options
    b = widths[0] if options.beta is None else options.beta
    pair = (b, context.pairs.a_bits if context.pairs.mode == "fixed" else b)
    sampled = sampled_layers(model, options.mu)
    chosen = [layer for layers in sampled.values() for layer in layers]
    trace, sums = np.zeros(len(model.layers)), {layer.name: np.zeros((2, 3)) for layer in chosen}

    def of_piece(piece: Piece) -> tuple[F64, dict[str, F64]]:
        """A piece's trace of every layer, and its drops."""
        name = f"trace/{context.labels}/{context.seed}/{piece.key}"
        found = context.units.get(name, lambda: traces(model, piece, context.labels, context.seed))
        return found["trace"].sum(1), drops(context, piece, chosen, pair)

    for traced, lost_here in track(spread_pieces(model, context.batches, context.jobs, of_piece), "sensitivity (lampq)"):
        trace += traced / context.images
        for layer, figures in lost_here.items():
            sums[layer] += figures / context.images
    source = options.alpha if context.labels_used else "divergence"
    column = SOURCES.index(source)
    # No image changed sides: that still does not tell apart less than one in all of them.
    least = 1 / context.images if source == "accuracy" else 0.0
    error = {name: np.sqrt(np.maximum(x[1] - x[0] ** 2, least) / context.images) for name, x in sums.items()}
    lost = {name: (float(x[0, column]), float(error[name][column])) for name, x in sums.items()}
    omega, details = omegas(model, trace, lost, sampled)
    loss = decaying(omega, options.gamma, widths)
    details |= {"trace": dict(zip((x.name for x in model.layers), trace.tolist(), strict=True)), "alpha_from": source}
    details |= {"drops": {name: dict(zip(SOURCES, x[0].tolist(), strict=True)) for name, x in sums.items()}}
    return loss, {**details, "beta": b, "gamma": options.gamma, "mu": options.mu}


OPTIONS = ("labels", "alpha", "beta", "gamma", "mu")
METRICS.add("lampq", Metric(sees_activations=False, measure=measure_lampq, options=OPTIONS))
