"""`eval`: how often an artifact is right, and how often it says what the float model says; of features, how near they stay."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lampq_tvm.api.option import taking
from lampq_tvm.api.requests import EvalRequest
from lampq_tvm.api.running import cached_model, class_count, float_logits, input_spec, load
from lampq_tvm.artifact.container import read_artifact
from lampq_tvm.data import open_dataset
from lampq_tvm.device.kinds import find_device
from lampq_tvm.errors import UsageError
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.progress import track
from lampq_tvm.spread import fitting_jobs, spread

if TYPE_CHECKING:
    from lampq_tvm.runtime.runner import Runner

Batch = tuple[np.ndarray, np.ndarray | None]
EVAL_BATCH = 32
RUN_BYTES = 512 << 20  # of values while a batch runs; each runner has the artifact's parameters besides


@taking(EvalRequest)
def eval(request: EvalRequest) -> dict[str, Any]:
    """Accuracy of an artifact on labelled images, or on any images how often it agrees with the float model.

    On this machine `jobs` take the place of `threads`, each working on batches of its own.

    Returns:
        `n`, `top1`, `fp32_top1` and `agreement_fp32`, shares of 1; the last two are None where the float model is not at
        hand, the first two where the images have no labels. Without a classifier there are no `top1`; `agreement_fp32` is the
        mean cosine between an image's outputs and the float model's, and `error_fp32` the mean absolute difference, over the
        mean absolute value of the float model's.

    Raises:
        UsageError: a number is out of range, or neither labels nor the float model are there to compare with.
    """
    artifact, data, device = request.artifact, request.data, request.device
    opened = read_artifact(artifact)
    model = cached_model(opened) if request.fp32 else None
    logits = bool(opened.manifest["has_classifier"])
    if not logits and model is None:
        hint = "eval where the artifact was compiled and without --no-fp32, or use lampq run"
        raise UsageError("no classifier, and no float model to compare features with", where=str(artifact), hint=hint)
    classes = class_count(opened) if logits else None
    whole = open_dataset(data, input_spec(opened), classes=classes, labels_used=classes is not None, how=request.reading)
    dataset = whole.sample(request.images)
    if logits and model is None and not dataset.has_labels:
        hint = "give labelled images, or eval where the artifact was compiled and without --no-fp32"
        raise UsageError("no labels, and no float model to compare with", where=str(data), hint=hint)
    dataset.verify()
    here = find_device(device).here and opened.manifest["arch"] != "cuda"
    wanted = fitting_jobs(request.jobs or request.threads, RUN_BYTES + artifact.stat().st_size) if here else 1
    with Runners(lambda: load(artifact, device, 1 if here else request.threads)) as runners:
        answers: Callable[[Batch], tuple[float, ...]]
        answers = partial(_answers if logits else _features, runners, model)
        batches, count = dataset.batches(EVAL_BATCH), -(-len(dataset) // EVAL_BATCH)
        found = np.sum(list(track(spread(answers, batches, wanted), "evaluating", count)), axis=0)
    n, labelled, compared = len(dataset), dataset.has_labels, model is not None
    if not logits:
        cosines, away, size = (float(x) for x in found)
        near = {"agreement_fp32": cosines / n, "error_fp32": away / size if size else 0.0}
        return {"n": n, "top1": None, "fp32_top1": None, **near}
    right, float_right, agree = (int(x) for x in found)
    return {
        "n": n,
        "top1": right / n if labelled else None,
        "fp32_top1": float_right / n if labelled and compared else None,
        "agreement_fp32": agree / n if compared else None,
    }


class Runners:
    """Runners of one artifact for as many threads as ask at once; the first is there from the start."""

    def __init__(self, make: Callable[[], Runner]) -> None:
        self.make = make
        self.all = [make()]
        self.free = self.all.copy()

    @contextlib.contextmanager
    def one(self) -> Iterator[Runner]:
        """A runner that nobody else has."""
        try:
            runner = self.free.pop()
        except IndexError:
            runner = self.make()
            self.all.append(runner)
        try:
            yield runner
        finally:
            self.free.append(runner)

    def __enter__(self) -> Runners:
        return self

    def __exit__(self, *_: object) -> None:
        for runner in self.all:
            runner.close()


def _answers(runners: Runners, model: ImportedModel | None, batch: Batch) -> tuple[int, int, int]:
    """How many of a batch the artifact gets right, the float model gets right, and both answer alike."""
    pixels, labels = batch
    with runners.one() as runner:
        found = runner.one(pixels).argmax(1)
    reference = None if model is None else float_logits(model, pixels).argmax(1)
    right = 0 if labels is None else int((found == labels).sum())
    float_right = 0 if labels is None or reference is None else int((reference == labels).sum())
    return right, float_right, 0 if reference is None else int((reference == found).sum())


def _features(runners: Runners, model: ImportedModel | None, batch: Batch) -> tuple[float, float, float]:
    """Of a batch's outputs: sum of cosines with the float model's, of absolute differences, and of absolute values there."""
    assert model is not None  # looked at before
    with runners.one() as runner:
        found = runner.one(batch[0])
    rows, wanted = (x.reshape(len(x), -1).astype(np.float64) for x in (found, float_logits(model, batch[0])))
    sizes = np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted, axis=1)
    cosines = (rows * wanted).sum(1) / np.maximum(sizes, 1e-30)
    return float(cosines.sum()), float(np.abs(rows - wanted).sum()), float(np.abs(wanted).sum())
