"""`debug`: where an artifact's accuracy goes, layer by layer."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.api.caching import at_work
from lampq_tvm.api.kept import noted_folder
from lampq_tvm.api.option import taking
from lampq_tvm.api.options import Options
from lampq_tvm.api.requests import DebugRequest
from lampq_tvm.api.running import class_count, input_spec, load
from lampq_tvm.artifact.container import Artifact, read_artifact
from lampq_tvm.bitplan import BitPlan
from lampq_tvm.data import Dataset, open_dataset
from lampq_tvm.errors import CorruptError, UsageError
from lampq_tvm.progress import note, track
from lampq_tvm.recipes.find import DEFAULT
from lampq_tvm.scratch import scratch
from lampq_tvm.spread import fitting_jobs, one_thread, spread
from lampq_tvm.store import write_atomic

if TYPE_CHECKING:
    from lampq_tvm.calibrate.calibration import Calibration
    from lampq_tvm.debugging.signals import Signal

PIECE = 16  # images that are run together
PIECE_BYTES = 1 << 30  # of their values
WIDE = "8/8"


@taking(DebugRequest)
def debug(request: DebugRequest) -> dict[str, Any]:
    """Run an artifact and the float model side by side on real images, then the float model with each layer widened alone.

    Returns:
        `n` images; `top1` and `fp32_top1`, shares of 1, of the plan's layers in the float model and of the float model (against
        the float model's answers where there are no labels); `layers`, the one that costs most first: name, type, `w_bits`,
        `a_bits`; `snr_db`, `cosine` and `saturated` of what it reads in the artifact (None where that cannot be seen);
        `kl_won` and `points_won`, divergence from the float model and accuracy that come back when this layer alone stays in
        float; `hint`, the option that widens it.

    Raises:
        UsageError: the artifact's calibration is not at hand, or there is no image.
    """
    opened = read_artifact(request.artifact)
    data = _images(request, opened)
    return _debug(request, opened, data)


def _images(request: DebugRequest, opened: Artifact) -> Dataset:
    classes = class_count(opened) if opened.manifest["has_classifier"] else None
    known = classes is not None
    whole = open_dataset(request.data, input_spec(opened), classes=classes, labels_used=known, how=request.reading)
    found = whole.sample(request.images, request.seed)
    found.verify()
    return found if known else dataclasses.replace(found, labels=None)


@at_work()
def _debug(request: DebugRequest, opened: Artifact, data: Dataset) -> dict[str, Any]:
    """Measure and sort."""
    from lampq_tvm.debugging.widening import Widening

    plan = _plan(opened)
    calibration = _with_own_inputs(_calibration(request, opened, plan), opened, plan)
    signals = _signals(request, opened, calibration, plan, data)
    widening, count = Widening(calibration, plan), -(-len(data) // PIECE)
    jobs = fitting_jobs(request.jobs, PIECE_BYTES)
    with one_thread():
        pieces = spread(lambda piece: widening.answers(*piece), data.batches(PIECE), jobs)
        parts = list(track(pieces, "widening each layer", count))
    total = functools.reduce(operator.add, parts)
    rows: list[dict[str, Any]] = [
        {
            "name": row.name,
            "type": row.type,
            "w_bits": row.w_bits,
            "a_bits": row.a_bits,
            "snr_db": signals[row.name].snr_db,
            "cosine": signals[row.name].cosine,
            "saturated": signals[row.name].saturated,
            "kl_won": float(total.loss[0] - total.loss[i]) / total.count,
            "points_won": 100 * float(total.right[i] - total.right[0]) / total.count,
            "hint": None if (row.w_bits, row.a_bits) == (8, 8) or row.is_float else f"--bits '{row.name}={WIDE}'",
        }
        for i, row in enumerate(plan.layers, 1)
    ]
    rows.sort(key=lambda row: -row["kl_won"])
    n = total.count
    return {"n": n, "top1": float(total.right[0]) / n, "fp32_top1": total.float_right / n, "layers": rows}


def _plan(opened: Artifact) -> BitPlan:
    """The artifact's plan.

    Raises:
        CorruptError, UnsupportedError: as of `BitPlan.load`.
    """
    with _plan_file(opened) as file:
        return BitPlan.load(file)


@contextlib.contextmanager
def _plan_file(opened: Artifact) -> Iterator[Path]:
    """The artifact's plan as a file, for as long as it is needed."""
    with scratch("debug") as place:
        file = Path(place) / "plan.json"
        write_atomic(file, opened.sections["plan.json"])
        yield file


def _signals(
    request: DebugRequest, opened: Artifact, calibration: Calibration, plan: BitPlan, data: Dataset
) -> dict[str, Signal]:
    """What each layer reads in the artifact, run on the device, beside what it reads in the float model."""
    import torch

    from lampq_tvm.debugging.signals import Signal, read_by, value_range
    from lampq_tvm.network.execute import normalize, run_float
    from lampq_tvm.network.op import Op

    model, found = calibration.model, {row.name: Signal() for row in plan.layers}
    looked_at = [row for row in plan.layers if not row.reads_image and not row.is_float]
    quantizers = {row.name: calibration.activations[row.name][row.a_bits] for row in looked_at}
    with load(request.artifact, request.device, request.threads) as runner, one_thread(), torch.no_grad():
        for pixels, _ in track(data.batches(PIECE), "running the artifact", -(-len(data) // PIECE)):
            trace, inputs = runner.trace(pixels), dict[str, npt.NDArray[np.float32]]()

            def keep(op: Op, given: tuple[torch.Tensor, ...], _: torch.Tensor, inputs: dict[str, Any] = inputs) -> None:
                if op.name in quantizers:
                    inputs[op.name] = given[0].numpy()

            run_float(model, normalize(pixels, model.input), observe=keep)
            for row in looked_at:
                y, x = read_by(model, row, quantizers[row.name], trace), inputs[row.name].astype(np.float64).ravel()
                if y is not None and y.size == x.size:
                    found[row.name].add(x, y, *value_range(quantizers[row.name]))
    return found


def _with_own_inputs(calibration: Calibration, opened: Artifact, plan: BitPlan) -> Calibration:
    """The calibration with the input quantizers that the artifact itself tells of."""
    from lampq_tvm.debugging.signals import input_quantizer

    activations = {name: dict(by_bits) for name, by_bits in calibration.activations.items()}
    for row in plan.layers:
        described = opened.manifest["quantizers"].get(row.name, {}).get("input")
        found = None if described is None or row.reads_image or row.is_float else input_quantizer(described)
        if found is not None:
            activations[row.name][row.a_bits] = found
    return dataclasses.replace(calibration, activations=activations)


def _calibration(request: DebugRequest, opened: Artifact, plan: BitPlan) -> Calibration:
    """What the artifact was made from: kept in the cache, or made again from weights that are given.

    Raises:
        UsageError: neither is there.
    """
    from lampq_tvm.calibrate.calibration import Calibration

    if request.checkpoint is None and not request.pretrained:
        try:
            folder = noted_folder("calibrations", opened.payload_digest)
            if folder is not None and (folder / "calibration.st").exists():
                return Calibration.load(folder)
        except CorruptError as e:
            note(f"warning: {e}")
        what = "the calibration that it was made from is not in the cache"
        hint = "compile it again here, or give --checkpoint (and the --data that it was compiled with)"
        raise UsageError(what, where=str(request.artifact), hint=hint)
    return _calibrated_again(request, opened, plan)


def _calibrated_again(request: DebugRequest, opened: Artifact, plan: BitPlan) -> Calibration:
    from lampq_tvm.api.pipeline import Pipeline

    given = {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
    names = {field.name for field in dataclasses.fields(Options)}
    options = Options(
        **{name: value for name, value in given.items() if name in names and name not in ("model", "recipe")},
        model=request.model or opened.manifest["model"].removeprefix("timm:"),
        recipe=request.recipe or plan.notes.get("recipe", DEFAULT),
        attention_bits=plan.attention_bits if isinstance(plan.attention_bits, int) else 8,
    )
    with _plan_file(opened) as file:
        pipeline = Pipeline(options, file)
        return pipeline.refitted(pipeline.plan, pipeline.plan_calibration)
