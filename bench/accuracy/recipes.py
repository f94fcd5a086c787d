"""Every recipe on the reference models: accuracy, divergence from float and size, each row from a compiled artifact.

    python -m bench.accuracy.recipes --models fashion_mnist             (figures in bench/results/recipes.json)
    python -m bench.accuracy.recipes --cifar FOLDER --only default gptq --widths 2/8 3/3

A recipe's layers have one width each (`4/4`), and where it chooses widths also those that it chooses (`4bit`). `kl` is the mean
divergence of the float model's answers from the artifact's, which ranks better than accuracy. A finished row is kept in --work
under a name that holds the digests of all that it came from, so a killed run goes on, and a changed recipe repeats its rows.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.common.cifar import load_split
from bench.common.run import Pieces, arguments, finish, machine
from bench.common.sample import CHECKPOINT, MODEL, SAMPLE, test_sample
from lampq_tvm.api.compiling import compile_pipeline
from lampq_tvm.api.looking import inspect
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.api.running import float_logits, load
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.recipes.find import find_recipe, shipped
from lampq_tvm.spread import one_thread

COLUMNS = ("model", "recipe", "widths", "attention", "seed", "top1", "drop", "kl", "agreement", "payload_bytes", "seconds")
BATCH = 250
CHOOSING = ("default", "lampq", "vtptq")  # recipes that choose widths as well
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


def subject(name: str, cifar: Path | None, count: int) -> Subject:
    """A reference model; those on CIFAR-10 need the folder of its images."""
    if name == "fashion_mnist":
        images, labels = test_sample(count)
        return Subject(name, {"model": MODEL, "checkpoint": CHECKPOINT, "data": SAMPLE / "calib512.npz"}, images, labels)
    assert cifar is not None
    images, labels = load_split(cifar, "test")
    picked = np.random.default_rng(0).permutation(len(labels))[:count]  # files are in the order of classes
    images = np.ascontiguousarray(images[picked].transpose(0, 3, 1, 2))
    options = {"model": CIFAR[name], "checkpoint": CHECKPOINT.with_name(f"{name}.safetensors"), "data": cifar / "train"}
    return Subject(name, options, images, labels[picked])


def requests(args: argparse.Namespace, subject: Subject) -> Iterator[tuple[str, str, int, Options]]:
    """(recipe, widths, seed, options) of each row."""
    for recipe in args.only or shipped():
        chosen = [f"{b}bit" for b in (4, 3)] if recipe in CHOOSING and args.widths is None else []
        for widths in [*(args.widths or ["4/4", "3/3"]), *chosen]:
            for seed in range(args.seeds):
                budget = {"budgets": (widths,)} if widths.endswith("bit") else {}
                shared = {"calib_images": args.calib_images, "sens_images": args.sens_images, "recipe": recipe, "seed": seed}
                yield recipe, widths, seed, Options(**subject.options, **shared, **budget, attention_bits=args.attention_bits)


def logits_of(call: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """Logits [N, classes], a batch at a time."""
    return np.concatenate([call(images[i : i + BATCH]) for i in range(0, len(images), BATCH)])


def divergence(exact: np.ndarray, found: np.ndarray) -> float:
    """Mean KL(float || artifact) of logits [N, classes]."""
    a, b = (x - np.logaddexp.reduce(x, 1, keepdims=True) for x in (exact.astype(np.float64), found.astype(np.float64)))
    return float((np.exp(a) * (a - b)).sum(1).mean())


def row(options: Options, widths: str, folder: Path, own: Subject, exact: np.ndarray) -> dict[str, Any]:
    """Compile a plan and evaluate its artifact."""
    start, plan_file = time.perf_counter(), None
    if "/" in widths:
        plan_file = folder / "plan.json"
        recipe, model = find_recipe(options.recipe), Pipeline(options).model
        softmax = recipe.probabilities(model, options.attention_bits)
        uniform_plan(model, *map(int, widths.split("/")), options.attention_bits, softmax).save(plan_file)
    pipeline = Pipeline(options, plan_file)
    artifact = compile_pipeline(pipeline, folder / "row.lampq")
    seconds = time.perf_counter() - start
    found = logits_of(load(artifact), own.images)
    right, float_right = (float((x.argmax(1) == own.labels).mean()) for x in (found, exact))
    return {
        "top1": right,
        "drop": round(100 * (float_right - right), 3),
        "kl": round(divergence(exact, found), 5),
        "agreement": float((found.argmax(1) == exact.argmax(1)).mean()),
        "payload_bytes": inspect(artifact)["payload_bytes"],
        "seconds": round(seconds, 1),
        "right": np.packbits(found.argmax(1) == own.labels).tobytes().hex(),
        "plan": [[layer.name, layer.w_bits, layer.a_bits] for layer in pipeline.plan.layers],
    }


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "recipes")
    parser.add_argument("--models", nargs="+", default=["fashion_mnist", *CIFAR], choices=["fashion_mnist", *CIFAR])
    parser.add_argument("--cifar", type=Path, help="folder of train/CLASS/*.jpg and test/CLASS/*.jpg")
    parser.add_argument("--only", nargs="+", metavar="RECIPE", help="some recipes, by name or file")
    parser.add_argument("--widths", nargs="+", help="W/A or a budget; 4/4 and 3/3 where left out, and what recipes choose")
    parser.add_argument("--attention-bits", type=int, default=8)
    parser.add_argument("--images", type=int, default=2000, help="of the test set")
    parser.add_argument("--calib-images", type=int, default=512)
    parser.add_argument("--sens-images", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    facts, rows = machine(), list[dict[str, Any]]()
    for name in args.models:
        own = subject(name, args.cifar, args.images)
        base = Options(**own.options)
        with one_thread():
            exact = logits_of(partial(float_logits, Pipeline(base).model), own.images)
        for recipe, widths, seed, options in requests(args, own):
            pipeline = Pipeline(options)
            digests = (pipeline.calibration_key, pipeline.sens_data.fingerprint, options.method.model_dump(), widths)
            pieces = Pieces(args.work, *digests, args.images, args.attention_bits)
            made = partial(row, options, widths, args.work, own, exact)
            found = pieces.get(f"{name}-{Path(recipe).stem}-{widths.replace('/', '-')}-{seed}", made)
            facts_of = {"model": name, "recipe": Path(recipe).stem, "widths": widths, "attention": args.attention_bits}
            rows.append({**facts_of, "seed": seed, **found})
            told = f"top1 {100 * found['top1']:.2f} (drop {found['drop']:.2f}), kl {found['kl']:.4f}"
            print(f"{name} {recipe} {widths} seed {seed}: {told}, {found['seconds']} s", file=sys.stderr, flush=True)
    used = {"images": args.images, "calib_images": args.calib_images, "sens_images": args.sens_images}
    finish(args.output, COLUMNS, rows, machine=facts, **used)


if __name__ == "__main__":
    main()
