"""The reference models with their images, and how an artifact of one answers beside the float model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.common.cifar import load_split
from bench.common.sample import CHECKPOINT, MODEL, SAMPLE, model_args, test_sample
from lampq_tvm.api.compiling import compile_pipeline
from lampq_tvm.api.looking import inspect
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.api.running import float_logits, load
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.recipes.find import find_recipe
from lampq_tvm.sources import source_digest
from lampq_tvm.spread import one_thread
from lampq_tvm.stage_cache import code_key

BATCH = 250
CIFAR = {"cifar10_vit": "vit_tiny_patch16_224", "cifar10_swin": "swin_tiny_patch4_window7_224"}


@dataclass(frozen=True)
class Subject:
    """A reference model with its images.

    Attributes:
        options: that every request has.
        images, labels: [N, C, H, W] uint8 and [N], of the test set.
    """

    name: str
    options: dict[str, Any]
    images: np.ndarray
    labels: np.ndarray

    @property
    def arguments(self) -> dict[str, Any]:
        """Of the timm model."""
        return model_args(self.options["checkpoint"])


def subject(name: str, cifar: Path | None, count: int) -> Subject:
    """A reference model; those on CIFAR-10 need the folder of its images."""
    if name == "fashion_mnist":
        images, labels = test_sample(count)
        return Subject(name, {"model": MODEL, "checkpoint": CHECKPOINT, "data": SAMPLE / "calib512.npz"}, images, labels)
    assert cifar is not None, "give --cifar"
    images, labels = load_split(cifar, "test")
    picked = np.random.default_rng(0).permutation(len(labels))[:count]  # files are in the order of classes
    images = np.ascontiguousarray(images[picked].transpose(0, 3, 1, 2))
    options = {"model": CIFAR[name], "checkpoint": CHECKPOINT.with_name(f"{name}.safetensors"), "data": cifar / "train"}
    return Subject(name, options, images, labels[picked])


def float_answers(own: Subject) -> np.ndarray:
    """The float model's logits [N, classes] of the test images."""
    with one_thread():
        return logits_of(partial(float_logits, Pipeline(Options(**own.options)).model), own.images)


def logits_of(call: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """Logits [N, classes], a batch at a time."""
    return np.concatenate([call(images[i : i + BATCH]) for i in range(0, len(images), BATCH)])


def artifact_answers(artifact: Path, images: np.ndarray) -> np.ndarray:
    """Output [N, ...] of an artifact, of several their numbers [N, numbers]; on one thread, since two wait for each other."""
    return logits_of(load(artifact, threads=1).one, images)


def is_budget(widths: str) -> bool:
    """Whether widths are a budget that the program spends (`4bit`, `3/8bit`), not those of every layer (`3/8`)."""
    return widths.endswith("bit")


def divergence(exact: np.ndarray, found: np.ndarray) -> float:
    """Mean KL(float || artifact) of logits [N, classes]."""
    a, b = (x - np.logaddexp.reduce(x, 1, keepdims=True) for x in (exact.astype(np.float64), found.astype(np.float64)))
    return float((np.exp(a) * (a - b)).sum(1).mean())


def depends(pipeline: Pipeline, widths: str) -> list[Any]:
    """What a row depends on: keys and code of the stages up to the integer network, which kernels compute to the bit."""
    method = pipeline.options.method
    stages = ["quantize", *(["refit"] if method.refit else []), *(["sensitivity", "plan"] if is_budget(widths) else [])]
    code: list[Any] = [code_key(stage) for stage in stages]
    code += [source_digest("allocate.problem", "allocate.update")] if is_budget(widths) else []
    return [pipeline.calibration_key, pipeline.sens_data.fingerprint, method.model_dump(), widths, code]


def compiled(options: Options, widths: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The artifact of a model at widths `W/A`, or at those that its budget gives; its bytes, seconds and widths."""
    start, plan_file = time.perf_counter(), None
    if not is_budget(widths):
        plan_file = folder / "plan.json"
        recipe, model = find_recipe(options.recipe), Pipeline(options).model
        softmax = recipe.probabilities(model, options.attention_bits)
        uniform_plan(model, *map(int, widths.split("/")), options.attention_bits, softmax).save(plan_file)
    pipeline = Pipeline(options, plan_file)
    artifact = compile_pipeline(pipeline, folder / "row.lampq")
    return artifact, {
        "payload_bytes": inspect(artifact)["payload_bytes"],
        "seconds": round(time.perf_counter() - start, 1),
        "plan": [[layer.name, layer.w_bits, layer.a_bits] for layer in pipeline.plan.layers],
    }


def evaluated(options: Options, widths: str, folder: Path, own: Subject, exact: np.ndarray) -> dict[str, Any]:
    """Compile a model and evaluate the artifact on the test images."""
    artifact, facts = compiled(options, widths, folder)
    found = artifact_answers(artifact, own.images)
    right, float_right = (float((x.argmax(1) == own.labels).mean()) for x in (found, exact))
    return {
        "top1": right,
        "drop": round(100 * (float_right - right), 3),
        "kl": round(divergence(exact, found), 5),
        "agreement": float((found.argmax(1) == exact.argmax(1)).mean()),
        "right": np.packbits(found.argmax(1) == own.labels).tobytes().hex(),
        **facts,
    }
