"""Who chooses the widths: metrics and LampQ's parts on the same quantizers, each row from a compiled artifact.

    python -m bench.accuracy.allocations --models fashion_mnist     (figures in bench/results/allocations.json)
    python -m bench.accuracy.allocations --cifar FOLDER --models cifar10_vit cifar10_swin --images 10000

On the bases of the recipes `lampq` (AdaLog's quantizers) and `default`, at budgets of 4 and 3 bits, activations of the
weights' width: one width for all layers, every metric, LampQ without its type weights (`fisher`), without its update, and its
update alone. The report says by how many points LampQ's widths (type-aware metric and update) lie above each, with the 95 %
interval of the paired bootstrap. Rows are kept and made anew like those of `bench.accuracy.recipes`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.common.cells import Cells
from bench.common.run import arguments
from bench.common.subjects import CIFAR, depends, evaluated, float_answers, is_budget, subject
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline

CELL = ("model", "base", "bits", "widths by", "images", "calib_images")
COLUMNS = (*CELL, "top1", "drop", "kl", "payload_bytes")
BASES = ("lampq", "default")
METRICS = ("lampq", "fisher_output", "kl", "fisher", "hawq", "nuclear", "greedy", "relevance", "random")
OURS = "lampq, update"  # LampQ whole: its metric and its update
UPDATED = "one width, update"  # its update alone


def variants(bits: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(name, widths, options) of each way to choose widths."""
    yield "one width", f"{bits}/{bits}", {}
    for metric in METRICS:
        yield metric, f"{bits}bit", {"metric": metric, "update": False}
    yield OURS, f"{bits}bit", {"metric": "lampq", "update": True}
    yield "fisher, update", f"{bits}bit", {"metric": "fisher", "update": True}
    yield UPDATED, f"{bits}bit", {"metric": "uniform", "update": True}


def fill(cells: Cells, args: argparse.Namespace, name: str) -> None:
    """Every base, budget and way."""
    own = subject(name, args.cifar, args.images)
    exact = float_answers(own)
    for base in args.bases:
        for bits in args.bits:
            for way, widths, given in variants(bits):
                if is_budget(widths):
                    given = {**given, "budgets": (widths,), "tied": True}
                options = Options(
                    **own.options, recipe=base, calib_images=args.calib_images, sens_images=args.calib_images, **given
                )
                facts = (name, base, bits, way, len(own.labels), args.calib_images)
                made = partial(evaluated, options, widths, args.work, own, exact)
                found = cells.get(dict(zip(CELL, facts, strict=True)), depends(Pipeline(options), widths), made)
                told = f"{100 * found['top1']:.2f}, kl {found['kl']:.4f}"
                print(f"{name} {base} {bits} {way}: {told}", file=sys.stderr, flush=True)


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "allocations")
    parser.add_argument("--models", nargs="+", default=["fashion_mnist", *CIFAR], choices=["fashion_mnist", *CIFAR])
    parser.add_argument("--cifar", type=Path, help="folder of train/CLASS/*.jpg and test/CLASS/*.jpg")
    parser.add_argument("--bases", nargs="+", default=list(BASES), choices=BASES)
    parser.add_argument("--bits", nargs="+", type=int, default=[4, 3])
    parser.add_argument("--images", type=int, default=2000, help="of the test set")
    parser.add_argument("--calib-images", type=int, default=512)
    args = parser.parse_args()
    cells = Cells(args.output, CELL)
    for name in args.models:
        fill(cells, args, name)
    cells.show(COLUMNS)


if __name__ == "__main__":
    main()
