"""Measures how much each layer suffers from narrow codes, by the metric asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lampq_tvm.calibrate.calibration import WIDTHS, Calibration
from lampq_tvm.errors import UsageError
from lampq_tvm.network.execute import run_float
from lampq_tvm.progress import track
from lampq_tvm.sensitivity.context import Context
from lampq_tvm.sensitivity.criteria import hits, labels_mean_something
from lampq_tvm.sensitivity.fisher_output import output_errors
from lampq_tvm.sensitivity.kl import divergences
from lampq_tvm.sensitivity.lampq import measure_lampq
from lampq_tvm.sensitivity.pairs import Pairing
from lampq_tvm.sensitivity.pieces import Batches, Piece, spread_pieces
from lampq_tvm.sensitivity.table import Sensitivity
from lampq_tvm.spread import one_thread
from lampq_tvm.store import Units

METRICS = ("fisher_output", "lampq", "kl")
F64 = npt.NDArray[np.float64]


@one_thread()
def sensitivity(
    calibration: Calibration,
    batches: Batches,
    *,
    metric: str = "fisher_output",
    widths: tuple[int, ...] = WIDTHS,
    units: Units,
    pairs: Pairing = Pairing("tied"),  # noqa: B008  (frozen)
    labels: str = "empirical",
    alpha: str = "accuracy",
    beta: int | None = None,
    gamma: float = 4.0,
    mu: int = 3,
    seed: int = 0,
    jobs: int | None = None,
) -> Sensitivity:
    """Loss of every layer at every pair of widths.

    Args:
        calibration: the quantizers.
        batches: called once per pass; gives (images uint8 [B, C, H, W] at the model's size, labels [B] or None).
        metric: `fisher_output`, `lampq` or `kl`.
        widths: candidates, ascending, each among the calibration's.
        units: finished work, a folder that belongs to this calibration.
        pairs: the pairs a plan may take; `kl` measures only these, the rest is infinite.
        labels: of the Fisher: `empirical` (the data's) or `sampled` (from the model). Labels that are missing, out of
            range or no better than chance for the float model count as not there.
        alpha: LampQ's A(t): `accuracy` (the paper's) or `loss` (rise of the cross entropy).
        beta: width at which A(t) is measured; None: the narrowest candidate.
        gamma: factor by which a bit lowers LampQ's loss.
        mu: layers per type at which A(t) is measured.
        seed: of sampled labels.
        jobs: pieces of images computed at once; all usable cores where None. The result does not depend on it.

    Raises:
        UsageError: an option is out of range, or there are no images.
    """
    _check(metric, widths, labels, alpha, gamma, mu, calibration)
    images, accuracy = _float_accuracy(calibration, batches, units, jobs)
    known = "empirical" if labels == "empirical" and accuracy is not None else "sampled"
    context = Context(calibration, batches, widths, units, pairs, known, seed, images, accuracy is not None, jobs)
    names = tuple(layer.name for layer in calibration.model.layers)
    details: dict[str, Any] = {"images": images, "float_accuracy": accuracy, "labels": known, "pairs": pairs.mode}
    details["labels_used"] = accuracy is not None
    if metric == "lampq":
        loss, more = measure_lampq(context, alpha, beta, gamma, mu)
        return Sensitivity(metric, False, names, widths, loss, {**details, **more})
    loss = np.zeros((len(names), len(widths), len(widths)))

    def of_piece(piece: Piece) -> F64:
        """Sum over a piece's images."""
        if metric == "kl":
            return divergences(context, piece)
        # Half of E[(g . dY)^2] is the second-order divergence, the unit of `kl`.
        name = f"fisher_output/{known}/{seed}/{list(widths)}/{piece.key}"
        return 0.5 * units.get(name, lambda: output_errors(context, piece))["error"]

    for found in track(spread_pieces(calibration.model, batches, jobs, of_piece), f"sensitivity ({metric})"):
        loss += found / images
    return Sensitivity(metric, True, names, widths, loss, details)


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


def _check(
    metric: str, widths: tuple[int, ...], labels: str, alpha: str, gamma: float, mu: int, calibration: Calibration
) -> None:
    """Raise UsageError where an option is out of range."""
    have = tuple(next(iter(calibration.weights.values())))
    for ok, what, where, hint in (
        (metric in METRICS, f"{metric!r} is no metric", "--metric", f"choose one of {', '.join(METRICS)}"),
        (labels in ("empirical", "sampled"), f"{labels!r} is no kind of labels", "labels", "choose empirical or sampled"),
        (alpha in ("accuracy", "loss"), f"{alpha!r} is no source of alpha", "alpha", "choose accuracy or loss"),
        (gamma > 1, f"gamma {gamma:g} must be above 1", "gamma", "the default is 4"),
        (mu >= 1, f"mu {mu} must be at least 1", "mu", "the default is 3"),
        (
            bool(widths) and set(widths) <= set(have),
            f"widths {list(widths)} are not calibrated",
            "widths",
            f"choose among {have}",
        ),
        (tuple(sorted(set(widths))) == widths, "widths must ascend", "widths", "for example 2, 4, 8"),
    ):
        if not ok:
            raise UsageError(what, where=where, hint=hint)
