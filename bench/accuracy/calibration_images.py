"""Few and poor calibration images: accuracy and error at 8 and 4 bits, with the warnings that are printed.

Calibration with 1 to 128 images, with black, constant and equal ones, of the shipped Fashion-MNIST model (accuracy on test
images that it did not see) and of a DeiT-T-shaped one with random weights (the sample's images, enlarged). The error is the
distance of the integer reference's logits to float, in shares of the logits' spread over the classes.

python -m bench.accuracy.calibration_images            (figures in bench/results/calibration_images.json)
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.common.run import Pieces, arguments, finish, machine
from bench.common.sample import CHECKPOINT, MODEL, SAMPLE, test_sample
from lampq_tvm.api.running import float_logits
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.calibrate.doubts import saturation
from lampq_tvm.calibrate.fit import calibrate
from lampq_tvm.calibrate.novelty import poor_images
from lampq_tvm.frontend.load import load_model
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.store import Units

COUNTS = (1, 2, 4, 8, 16, 32, 128)
POOR = 16  # images of each poor set
WIDTHS = (4, 8)
BATCH = 32
HELD_BACK = 8
COLUMNS = ("model", "images", "error8", "error4", "top1_8", "top1_4", "printed")


def sets(images: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """(name, images [N, C, H, W]) of every calibration."""
    yield from ((str(n), images[:n]) for n in COUNTS)
    yield "black", np.zeros_like(images[:POOR])
    yield "constant", np.zeros_like(images[:POOR]) + np.linspace(0, 255, POOR).astype(np.uint8)[:, None, None, None]
    yield "equal", images[:1].repeat(POOR, 0)


def models(names: str) -> Iterator[tuple[str, ImportedModel, np.ndarray, np.ndarray, np.ndarray | None]]:
    """(name, model, calibration images, test images, labels)."""
    with np.load(SAMPLE / "calib512.npz") as sample:
        calib = sample["images"][np.random.default_rng(0).permutation(len(sample["images"]))][:, None]
    test, labels = test_sample(2000)
    if "demo" in names:
        yield "demo", load_model(MODEL, checkpoint=CHECKPOINT), calib, test, labels
    if "deit" in names:
        large = [x.repeat(8, 2).repeat(8, 3).repeat(3, 1) for x in (calib[:160], test[:32])]
        yield "deit_tiny", load_model("deit_tiny_patch16_224"), large[0], large[1], None


def logits(model: ImportedModel, images: np.ndarray) -> np.ndarray:
    """Float logits [N, classes], a batch at a time."""
    return np.concatenate([float_logits(model, images[i : i + BATCH]) for i in range(0, len(images), BATCH)])


def figures(
    calibration: Calibration, bits: int, test: np.ndarray, labels: np.ndarray | None, wanted: np.ndarray
) -> dict[str, Any]:
    """Error and accuracy of a uniform plan."""
    got = run_reference(quantize(calibration, uniform_plan(calibration.model, bits, bits, 8, "uniform")), test)
    error = np.linalg.norm(got - wanted) / np.linalg.norm(wanted - wanted.mean(1, keepdims=True))
    top1 = None if labels is None else float((got.argmax(1) == labels).mean())
    return {f"error{bits}": float(error), f"top1_{bits}": top1}


def row(model: ImportedModel, images: np.ndarray, held_back: np.ndarray, test: Any, labels: Any, wanted: Any) -> dict[str, Any]:
    """Calibrate, and what comes of it."""
    batches = [(images[i : i + BATCH], None) for i in range(0, len(images), BATCH)]
    with tempfile.TemporaryDirectory() as folder:
        found = calibrate(model, batches, units=Units(Path(folder)), widths=WIDTHS)
    line = saturation(found, held_back)
    printed = poor_images(images) + ([] if line is None else [line])
    parts = [figures(found, bits, test, labels, wanted) for bits in WIDTHS]
    return {"printed": printed} | parts[0] | parts[1]


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "calibration_images")
    parser.add_argument("--models", default="demo,deit")
    parser.add_argument("--test-images", type=int, default=2000, help="at most")
    args = parser.parse_args()
    facts, pieces, rows = machine(), Pieces(args.work, args.test_images), []
    for name, model, calib, test, labels in models(args.models):
        test = test[: args.test_images]
        labels = None if labels is None else labels[: args.test_images]
        wanted = logits(model, test)
        if labels is not None:
            rows.append({"model": name, "images": "float", "top1_8": float((wanted.argmax(1) == labels).mean())})
        for which, images in sets(calib):
            made = (model, images, calib[-HELD_BACK:], test, labels, wanted)
            found = pieces.get("row", lambda made=made: row(*made), name, which)
            rows.append({"model": name, "images": which, **found})
            print(f"{name} {which}: {found['error8']:.4f} {found['error4']:.4f}", file=sys.stderr, flush=True)
    finish(args.output, COLUMNS, rows, machine=facts, test_images=args.test_images, poor_images=POOR)


if __name__ == "__main__":
    main()
