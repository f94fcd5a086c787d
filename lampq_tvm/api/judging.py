"""The promise of `--max-drop`: whether it can be judged at all, and how a plan fares on the images that are held back."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lampq_tvm.allocate.paired import Paired, least_images
from lampq_tvm.api.running import float_logits
from lampq_tvm.api.stages import Stages, check_unchanged, class_count
from lampq_tvm.bitplan import BitPlan
from lampq_tvm.data import Dataset
from lampq_tvm.errors import InfeasibleError, UnsupportedError, UsageError
from lampq_tvm.progress import note, track
from lampq_tvm.spread import fitting_jobs, spread
from lampq_tvm.store import Units

if TYPE_CHECKING:
    from lampq_tvm.allocate.budget import DropBudget

CHUNK = 128  # images of one unit of work; the first one says whether labels mean anything
AT_ONCE = 32  # of them, whose values the integer network holds together
OPTION = "--max-drop"


def check_judgeable(stages: Stages) -> None:
    """Refuse, before long work, a promise about accuracy that no plan of this model could be held to.

    Raises:
        UnsupportedError: the model has no classifier.
        UsageError: its weights are random, or the labels are missing or no better than chance for the float model.
        InfeasibleError: too few images are held back for so small a drop.
    """
    model, drop = stages.model, stages.options.drop
    assert drop is not None
    if not model.has_classifier:
        what = "a model without a classifier has no accuracy to keep"
        raise UnsupportedError(what, where=OPTION, hint="give a --budget instead")
    if model.weights == "random":
        what = "the weights are random, so there is no accuracy to keep"
        raise UsageError(what, where=OPTION, hint="give --checkpoint or --pretrained, or a --budget instead")
    for data in (*([stages.data] if stages.labels_used else []), stages.judging_pool):
        if data.labels is None:
            what = "accuracy is judged by labels, and there are none"
            raise UsageError(what, where=str(data.path), hint="give labelled images, or a --budget instead")
    least = least_images(drop.points)
    if (stages.options.val_images or least) < least:
        what = f"it takes {least} images to show a drop within {drop.points:g} points"
        raise UsageError(what, where="--val-images", hint="give that many or more, or leave it out")
    apart = stages.options.val_data is not None
    room = len(stages.data) - max(len(stages.calib_data), len(stages.sens_data))
    count = len(stages.held_back) if apart or room >= least else room
    if count < least:
        raise _too_few(count, least, drop, apart)
    _check_labels(stages)


def judge(stages: Stages, plan: BitPlan) -> Paired:
    """How a plan's integer network answers on the held-back images, beside the float model; said in a line."""
    found = compare(stages, stages.held_back, plan, "judging a plan")
    note(f"judged: {plan.avg_w_bits:.2f} / {plan.avg_a_bits:.2f} bits lose {found}")
    return found


def compare(stages: Stages, data: Dataset, plan: BitPlan, label: str) -> Paired:
    """Losses and gains of a plan's integer network against the float model on some images."""
    before, after = right(stages, data, None, "the float model"), right(stages, data, plan, label)
    return Paired(int((before & ~after).sum()), int((~before & after).sum()), len(data))


def right(stages: Stages, data: Dataset, plan: BitPlan | None, label: str) -> np.ndarray:
    """Which images of `data` a plan's integer network (for None the float model) gets right: bool [N].

    Every `CHUNK` images are one unit of work, so a killed run goes on there.
    """
    widths = None if plan is None else [[row.w_bits, row.a_bits] for row in plan.layers]
    key = (stages.model_digest,) if plan is None else (stages.refit_key(plan), plan.attention_bits, plan.softmax)
    units = Units(stages.cache.folder("plan", "answers", data.fingerprint, widths, *key), shared=label)
    logits = _logits(stages, plan)

    def answers(start: int) -> dict[str, np.ndarray]:
        pixels, labels = next(data.batches(CHUNK, start, start + CHUNK))
        return {"right": np.asarray(logits(pixels).argmax(1) == labels)}

    def unit(start: int) -> np.ndarray:
        return units.get(f"{start}", functools.partial(answers, start))["right"]

    starts = range(0, len(data), CHUNK)
    jobs = fitting_jobs(stages.options.jobs, AT_ONCE * stages.model.activation_bytes)
    found = list(track(spread(unit, starts, jobs, lambda start: f"image {start}"), label, len(starts)))
    check_unchanged(data, units)
    return np.concatenate(found).astype(bool)


def _logits(stages: Stages, plan: BitPlan | None) -> Callable[[np.ndarray], np.ndarray]:
    """Images uint8 [B, C, H, W] to logits [B, classes], of a network that is made when it is first needed."""
    from lampq_tvm.quantize.build import quantize
    from lampq_tvm.quantize.reference import run_reference

    if plan is None:
        return functools.partial(float_logits, stages.model)
    network, making = functools.cache(lambda: quantize(stages.refitted(plan), plan)), threading.Lock()

    def logits(pixels: np.ndarray) -> np.ndarray:
        with making:  # once, whoever comes first
            made = network()
        return np.asarray(run_reference(made, pixels))

    return logits


def _too_few(count: int, least: int, drop: DropBudget, apart: bool) -> InfeasibleError:
    what = f"{count} labelled images are held back from calibration and sensitivity; it takes {least} to show so small a drop"
    hint = f"give {least - count} more in --val-data, others than in --data"
    if not apart:
        hint = f"give {least - count} more in --data, or {least} others as --val-data"
    if count:
        hint += f", or allow {Paired(0, 0, count).bound_points:.2g} points"
    return InfeasibleError(what, where=drop.text, hint=hint)


def _check_labels(stages: Stages) -> None:
    """Refuse labels that the float model meets no better than by chance, on the first images."""
    from lampq_tvm.sensitivity.criteria import labels_mean_something

    data = stages.held_back
    first = data.take(np.arange(min(CHUNK, len(data))))
    share = float(right(stages, first, None, "the float model on some labels").mean())
    if not labels_mean_something(share, len(first), class_count(stages.model)):
        what = f"the float model gets {share:.1%} of {len(first)} images right, which is chance: the labels mean nothing"
        hint = "check the checkpoint, the preprocessing and the order of the classes"
        raise UsageError(what, where=str(data.path), hint=hint)
