"""`eval`: how often an artifact is right, and how often it says what the float model says."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lampq_tvm.api.options import LARGE, MOST_THREADS, check_device, check_range
from lampq_tvm.api.running import cached_model, class_count, float_logits, input_spec, load
from lampq_tvm.artifact.container import read_artifact
from lampq_tvm.data import Reading, open_dataset
from lampq_tvm.device.kinds import find_device
from lampq_tvm.errors import UnsupportedError, UsageError
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.progress import track
from lampq_tvm.spread import fitting_jobs, spread

if TYPE_CHECKING:
    from lampq_tvm.runtime.runner import Runner

EVAL_BATCH = 32
RUN_BYTES = 512 << 20  # of values while a batch runs; each runner has the artifact's parameters besides


def eval(
    artifact: str | Path,
    *,
    data: str | Path,
    device: str | None = None,
    threads: int | None = None,
    images: int | None = None,
    fp32: bool = True,
    class_order: str | None = None,
    class_map: str | Path | None = None,
    skip_broken: bool = False,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Accuracy of an artifact on labelled images, or on any images how often it agrees with the float model.

    Args:
        artifact: the `.lampq` file.
        data: a folder of class folders or of images alone, or an `.npz`.
        device: as for `load`.
        threads: cores that a board uses; here each works on batches of its own, and `jobs` takes their place.
        images: how many images are drawn; all where None.
        fp32: run the float model beside it where it is still in the cache and torch is installed.
        class_order, class_map, skip_broken: as of `Options`.
        jobs: batches worked on at once on this machine, fewer where memory is short; all usable cores where None.

    Returns:
        `n`, `top1`, `fp32_top1` and `agreement_fp32`, shares of 1; the last two are None where the float model is not at
        hand, the first two where the images have no labels.

    Raises:
        UsageError: a number is out of range, or neither labels nor the float model are there to compare with.
    """
    check_device(device)
    check_range("--images", images, 1, LARGE)
    check_range("--jobs", jobs, 1, MOST_THREADS)
    check_range("--threads", threads, 1, MOST_THREADS)
    how = Reading(class_order, None if class_map is None else Path(class_map), skip_broken)
    opened = read_artifact(artifact)
    model = cached_model(opened) if fp32 else None
    if not opened.manifest["has_classifier"]:
        raise UnsupportedError("a model without a classifier has no accuracy", where=str(artifact), hint="use lampq run")
    classes = class_count(opened)
    dataset = open_dataset(data, input_spec(opened), classes=classes, labels_used=classes is not None, how=how).sample(images)
    if model is None and not dataset.has_labels:
        hint = "give labelled images, or eval where the artifact was compiled and without --no-fp32"
        raise UsageError("no labels, and no float model to compare with", where=str(data), hint=hint)
    dataset.verify()
    here = find_device(device).here and opened.manifest["arch"] != "cuda"
    wanted = fitting_jobs(jobs or threads, RUN_BYTES + Path(artifact).stat().st_size) if here else 1
    with Runners(lambda: load(artifact, device, 1 if here else threads)) as runners:
        answers = partial(_answers, runners, model)
        batches, count = dataset.batches(EVAL_BATCH), -(-len(dataset) // EVAL_BATCH)
        found = np.sum(list(track(spread(answers, batches, wanted), "evaluating", count)), axis=0)
    right, float_right, agree = (int(x) for x in found)
    n, labelled, compared = len(dataset), dataset.has_labels, model is not None
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


def _answers(
    runners: Runners, model: ImportedModel | None, batch: tuple[np.ndarray, np.ndarray | None]
) -> tuple[int, int, int]:
    """How many of a batch the artifact gets right, the float model gets right, and both answer alike."""
    pixels, labels = batch
    with runners.one() as runner:
        found = runner(pixels).argmax(1)
    reference = None if model is None else float_logits(model, pixels).argmax(1)
    right = 0 if labels is None else int((found == labels).sum())
    float_right = 0 if labels is None or reference is None else int((reference == labels).sum())
    return right, float_right, 0 if reference is None else int((reference == found).sum())
