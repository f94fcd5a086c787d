"""A trained ViT-S/14 at 224 x 224 on photos: how near an artifact's features stay to the float model's.

    python -m bench.model.vit_s14 --work FOLDER
    python -m bench.accuracy.features --weights FOLDER/vit_s14.safetensors --photos FOLDER     (bench/results/features.json)

Half of the photos calibrate, the others are looked at. `cosine`: mean over photos of that between both features; `error`: of
their difference, over the float one's size; `agreement`: share of photos whose nearest other photo, by cosine, stays the same.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.common.cells import Cells
from bench.common.photos import MODEL, SIZE, halves
from bench.common.run import arguments
from bench.common.subjects import artifact_answers, compiled, depends, logits_of
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.api.running import float_logits
from lampq_tvm.data import open_dataset
from lampq_tvm.spread import one_thread

CELL = ("recipe", "widths", "photos", "calib_images")
COLUMNS = (*CELL, "cosine", "error", "agreement", "payload_bytes", "seconds")
RECIPES = ("default", "gptq", "repq", "nearest")
WIDTHS = ("8/8", "4/8", "4/4", "3/8")


def figures(exact: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Of features [N, C]."""
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (exact.astype(np.float64), found.astype(np.float64))]
    nearest = [np.argmax(u @ u.T - 2 * np.eye(len(u)), axis=1) for u in units]
    return {
        "cosine": round(float((units[0] * units[1]).sum(1).mean()), 5),
        "error": round(float(np.linalg.norm(found - exact) / np.linalg.norm(exact)), 4),
        "agreement": float((nearest[0] == nearest[1]).mean()),
    }


def row(options: Options, widths: str, folder: Path, images: np.ndarray, exact: np.ndarray) -> dict[str, Any]:
    """One recipe at one pair of widths, from its artifact."""
    artifact, facts = compiled(options, widths, folder)
    return figures(exact, artifact_answers(artifact, images)) | {k: facts[k] for k in ("payload_bytes", "seconds")}


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "features")
    parser.add_argument("--weights", type=Path, required=True, help="what bench.model.vit_s14 wrote")
    parser.add_argument("--photos", type=Path, required=True, help="folder of image files")
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--widths", nargs="+", default=WIDTHS)
    parser.add_argument("--calib-images", type=int, default=128)
    args: argparse.Namespace = parser.parse_args()
    calibration, test = halves(args.photos, args.work)
    base: dict[str, Any] = {"model": MODEL, "checkpoint": args.weights, "data": calibration, "calib_images": args.calib_images}
    model = Pipeline(Options(**base, model_args=SIZE)).model
    images = np.concatenate([pixels for pixels, _ in open_dataset(test, model.input)])
    with one_thread():
        exact = logits_of(partial(float_logits, model), images)
    cells = Cells(args.output, CELL)
    for recipe in args.recipes:
        for widths in args.widths:
            options = Options(**base, model_args=SIZE, recipe=recipe)
            cell = dict(zip(CELL, (recipe, widths, len(images), args.calib_images), strict=True))
            made = partial(row, options, widths, args.work, images, exact)
            print(cells.get(cell, depends(Pipeline(options), widths), made), file=sys.stderr, flush=True)
    cells.show(COLUMNS)


if __name__ == "__main__":
    main()
