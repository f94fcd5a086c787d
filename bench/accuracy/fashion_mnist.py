"""Accuracy and size on the whole Fashion-MNIST test set: float, uniform widths, and every way to choose 4 bits on average.

    python -m bench.accuracy.fashion_mnist            (figures in bench/results/fashion_mnist.json)

Integer rows come from artifacts compiled for the host, which `bench/trust/equal_bits.py` shows to equal the reference. All rows
share quantizers and images; each stands with attention at 8 bits, at 4, and at 4 with log-sqrt2 codes. `bound` is 1.05 times
the bytes that cannot be avoided: weights at exactly their width, float parts and tables; `ratio` is the payload over those
bytes. Rows that are finished are kept in --work, so a killed run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.common.run import Pieces, arguments, finish, machine
from bench.common.sample import MODEL, float_model, model_options, read_idx
from bench.common.sizes import unavoidable_bytes
from bench.common.subjects import artifact_answers, logits_of
from lampq_tvm.api.compiling import compile_pipeline
from lampq_tvm.api.looking import inspect
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.device.provision import provision_fashion_mnist

BOUND = 1.05
UNIFORM = (8, 6, 4, 3)
WAYS: dict[str, dict[str, Any]] = {
    "lampq4": {},
    "lampq4, no update": {"update": False},
    "lampq4, separate": {"tied": False},
    "metric lampq": {"metric": "lampq"},
    "metric lampq, alpha by loss": {"metric": "lampq", "alpha": "loss"},
    "metric lampq, no update": {"metric": "lampq", "update": False},
    "metric kl": {"metric": "kl"},
    "metric kl, separate": {"metric": "kl", "tied": False},
}
ATTENTIONS = ((8, "uniform"), (4, "uniform"), (4, "log_sqrt2"))
COLUMNS = (
    "name", "attention", "softmax", "top1", "drop", "agreement", "avg_w", "avg_a", "payload_bytes", "bound_bytes", "ratio",
)  # fmt: skip


def requests(args: argparse.Namespace) -> Iterator[tuple[str, Options, int | None]]:
    """(name, options, width of every layer or None) of each integer row."""
    common = model_options() | {"calib_images": args.calib_images, "sens_images": args.sens_images}
    for bits, softmax in ATTENTIONS[: args.attentions]:
        shared = common | {"attention_bits": bits, "softmax": softmax}
        rows = [(f"uniform{b}", Options(MODEL, **shared), b) for b in UNIFORM]
        rows += [(name, Options(MODEL, budgets=("4bit",), **shared, **way), None) for name, way in WAYS.items()]
        yield from (row for row in rows if args.only in row[0])


def integer_row(name: str, options: Options, bits: int | None, folder: Path, test: dict[str, np.ndarray]) -> dict[str, Any]:
    """Compile a plan and evaluate its artifact."""
    stem = f"{name}-a{options.attention_bits}-{options.softmax}".replace(", ", "-").replace(" ", "-")
    plan_file = None
    if bits is not None:
        plan_file = folder / f"{stem}.json"
        uniform_plan(Pipeline(options).model, bits, bits, options.attention_bits, options.softmax).save(plan_file)
    pipeline = Pipeline(options, plan_file)
    artifact = compile_pipeline(pipeline, folder / f"{stem}.lampq")
    found, least = artifact_answers(artifact, test["images"]).argmax(1), unavoidable_bytes(pipeline.quantized)
    facts, plan = inspect(artifact), pipeline.plan
    top1, agreement = (float((found == test[key]).mean()) for key in ("labels", "float"))
    return {
        "top1": top1,
        "drop": 100 * (float((test["float"] == test["labels"]).mean()) - top1),
        "agreement": agreement,
        "avg_w": facts["avg_w_bits"],
        "avg_a": facts["avg_a_bits"],
        "payload_bytes": facts["payload_bytes"],
        "bound_bytes": int(BOUND * least),
        "ratio": facts["payload_bytes"] / least,
        "widths": [[row.name, row.w_bits, row.a_bits] for row in plan.layers],
    }


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "fashion_mnist")
    parser.add_argument("--data", type=Path, help="folder of the idx .gz files; downloaded where left out")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--calib-images", type=int, default=512)
    parser.add_argument("--sens-images", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2, help="of torch, for the float row")
    parser.add_argument("--attentions", type=int, default=len(ATTENTIONS), help="how many kinds of attention, in order")
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    args = parser.parse_args()
    folder = args.data or provision_fashion_mnist()
    images, labels = (read_idx(folder / f"t10k-{part}-ubyte.gz")[: args.images] for part in ("images-idx3", "labels-idx1"))
    call, parameters = float_model(args.threads)
    test = {"images": images[:, None], "labels": labels}
    test["float"] = logits_of(call, test["images"]).argmax(1)
    top1 = float((test["float"] == labels).mean())
    sizes = {"avg_w": 32, "avg_a": 32, "payload_bytes": 4 * parameters}
    rows = [{"name": "float", "top1": top1, "drop": 0.0, "agreement": 1.0, **sizes}]
    facts, pieces = machine(), Pieces(args.work, args.images, args.calib_images, args.sens_images)
    for name, options, bits in requests(args):
        start = time.perf_counter()
        key = (name, options.attention_bits, options.softmax)
        found = pieces.get("row", lambda n=name, o=options, b=bits: integer_row(n, o, b, args.work, test), *key)
        rows.append({"name": name, "attention": options.attention_bits, "softmax": options.softmax, **found})
        seconds = time.perf_counter() - start
        print(f"{name} {key[1:]}: top1 {found['top1']:.4f} ({seconds:.0f} s)", file=sys.stderr, flush=True)
    images_used = {"images": len(labels), "calib_images": args.calib_images, "sens_images": args.sens_images}
    finish(args.output, COLUMNS, rows, machine=facts, **images_used)


if __name__ == "__main__":
    main()
