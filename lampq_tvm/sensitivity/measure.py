"""Measures how much each layer suffers from narrow codes, by the metric asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lampq_tvm.calibrate.calibration import WIDTHS, Calibration
from lampq_tvm.errors import UsageError
from lampq_tvm.network.execute import run_float
from lampq_tvm.recipes.schema import MetricOptions
from lampq_tvm.sensitivity.context import Context
from lampq_tvm.sensitivity.criteria import hits, labels_mean_something
from lampq_tvm.sensitivity.interactions import measured_terms
from lampq_tvm.sensitivity.metric import METRICS
from lampq_tvm.sensitivity.pairs import Pairing
from lampq_tvm.sensitivity.pieces import Batches, Piece, spread_pieces
from lampq_tvm.sensitivity.table import Sensitivity
from lampq_tvm.spread import one_thread
from lampq_tvm.store import Units

F64 = npt.NDArray[np.float64]


@one_thread()
def sensitivity(
    calibration: Calibration,
    batches: Batches,
    *,
    metric: MetricOptions = MetricOptions(),  # noqa: B008  (frozen)
    widths: tuple[int, ...] = WIDTHS,
    units: Units,
    pairs: Pairing = Pairing("tied"),  # noqa: B008  (frozen)
    seed: int = 0,
    jobs: int | None = None,
    interactions: bool = False,
) -> Sensitivity:
    """Loss of every layer at every pair of widths.

    Args:
        calibration: the quantizers.
        batches: called once per pass; gives (images uint8 [B, C, H, W] at the model's size, labels [B] or None).
        metric: by name, and its options, as a recipe gives them.
        widths: candidates, ascending, each among the calibration's.
        units: finished work, a folder that belongs to this calibration and these options.
        pairs: the pairs a plan may take; `kl` measures only these, the rest is infinite.
        seed: of sampled labels.
        jobs: pieces of images computed at once; all usable cores where None. The result does not depend on it.
        interactions: whether pairs of neighbouring layers are measured too (`sensitivity.interactions`), for the details.

    Raises:
        UsageError: there is no such metric, a width is out of range, or there are no images.
    """
    measured = METRICS.find(metric.name)
    _check(widths, calibration)
    images, accuracy = _float_accuracy(calibration, batches, units, jobs)
    known = "empirical" if metric.labels == "empirical" and accuracy is not None else "sampled"
    context = Context(calibration, batches, widths, units, pairs, metric, known, seed, images, accuracy is not None, jobs)
    names = tuple(layer.name for layer in calibration.model.layers)
    details: dict[str, Any] = {"images": images, "float_accuracy": accuracy, "labels": known, "pairs": pairs.mode}
    details["labels_used"] = accuracy is not None
    loss, more = measured.measure(context)
    if interactions:
        details["interactions"] = measured_terms(context)
    return Sensitivity(metric.name, measured.sees_activations, names, widths, loss, {**details, **more})


def _float_accuracy(calibration: Calibration, batches: Batches, units: Units, jobs: int | None) -> tuple[int, float | None]:
    """Number of images, and the share that the float model gets right: None where their labels cannot be used."""
    model, images, right, classes = calibration.model, 0, 0.0, 1

    def run(piece: Piece) -> dict[str, F64]:
        """Images, right answers (no number where the labels do not fit the output) and size of the output."""
        with torch.no_grad():
            output = run_float(model, piece.images(model))
        fits = piece.labels is not None and ((piece.labels >= 0) & (piece.labels < output.shape[1])).all()
        count = hits(output, piece.labels).sum() if model.has_classifier and fits and piece.labels is not None else np.nan
        return {"figures": np.array([len(piece.pixels), count, output.shape[1]], np.float64)}

    def of_piece(piece: Piece) -> F64:
        return units.get(f"float/{piece.key}", lambda: run(piece))["figures"]

    for many, count, size in spread_pieces(model, batches, jobs, of_piece):
        images, classes, right = images + int(many), int(size), right + float(count)
    usable = np.isfinite(right) and labels_mean_something(right / images, images, classes)
    return images, right / images if usable else None


def _check(widths: tuple[int, ...], calibration: Calibration) -> None:
    """Raise UsageError where widths are no candidates."""
    have = tuple(next(iter(calibration.weights.values())))
    if not widths or not set(widths) <= set(have):
        raise UsageError(f"widths {list(widths)} are not calibrated", where="widths", hint=f"choose among {have}")
    if tuple(sorted(set(widths))) != widths:
        raise UsageError("widths must ascend", where="widths", hint="for example 2, 4, 8")
