"""Who chooses the widths: metrics and LampQ's parts on the same quantizers, each row from a compiled artifact.

    python -m bench.accuracy.allocations --models fashion_mnist     (figures in bench/results/allocations.json)
    python -m bench.accuracy.allocations --cifar FOLDER --models cifar10_vit cifar10_swin --images 10000

On the bases of the recipes `lampq` (AdaLog's quantizers) and `default`, at budgets of 4 and 3 bits, activations of the
weights' width: one width for all layers, every metric, LampQ without its type weights (`fisher`) and without its update.
`above`: by how many points LampQ's widths (type-aware metric and update) lie above the row's, with the 95 % interval of the
paired bootstrap. Rows are kept like those of `bench.accuracy.recipes`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.common.paired import bits_of, interval
from bench.common.run import Pieces, arguments, finish, machine
from bench.common.subjects import CIFAR, depends, evaluated, float_answers, subject
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline

COLUMNS = ("model", "base", "bits", "widths by", "top1", "drop", "kl", "above", "payload_bytes")
BASES = ("lampq", "default")
METRICS = ("lampq", "fisher_output", "kl", "fisher", "hawq", "nuclear", "greedy", "relevance", "random")
OURS = "lampq, update"  # LampQ whole: its metric and its update


def variants(bits: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(name, widths, options) of each way to choose widths."""
    yield "one width", f"{bits}/{bits}", {}
    for metric in METRICS:
        yield metric, f"{bits}bit", {"metric": metric, "update": False}
    yield OURS, f"{bits}bit", {"metric": "lampq", "update": True}
    yield "fisher, update", f"{bits}bit", {"metric": "fisher", "update": True}


def rows_of(args: argparse.Namespace, name: str) -> Iterator[dict[str, Any]]:
    """Every base, budget and way."""
    own = subject(name, args.cifar, args.images)
    exact = float_answers(own)
    for base in args.bases:
        for bits in args.bits:
            for way, widths, given in variants(bits):
                if widths.endswith("bit"):
                    given = {**given, "budgets": (widths,), "tied": True}
                options = Options(
                    **own.options, recipe=base, calib_images=args.calib_images, sens_images=args.calib_images, **given
                )
                pieces = Pieces(args.work, *depends(Pipeline(options), widths), args.images, own=False)
                made = partial(evaluated, options, widths, args.work, own, exact)
                found = pieces.get(f"{name}-{base}-{bits}-{way.replace(', ', '-').replace(' ', '-')}", made)
                told = f"{100 * found['top1']:.2f}, kl {found['kl']:.4f}"
                print(f"{name} {base} {bits} {way}: {told}", file=sys.stderr, flush=True)
                yield {"model": name, "base": base, "bits": bits, "widths by": way, **found}


def with_intervals(rows: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The rows, each with how far LampQ's widths lie above it on the same base and budget."""
    key = ("model", "base", "bits")
    best = {tuple(row[k] for k in key): bits_of(row["right"], count) for row in rows if row["widths by"] == OURS}
    found = []
    for row in rows:
        ours, theirs = best[tuple(row[k] for k in key)], bits_of(row["right"], count)
        low, high = interval(ours, theirs)
        above = [round(100 * float(ours.mean() - theirs.mean()), 2), round(low, 2), round(high, 2)]
        found.append({**row, "above": above})
    return found


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
    facts, rows = machine(), list[dict[str, Any]]()
    for name in args.models:
        rows += with_intervals(list(rows_of(args, name)), min(args.images, len(subject(name, args.cifar, args.images).labels)))
    finish(args.output, COLUMNS, rows, machine=facts, images=args.images, calib_images=args.calib_images)


if __name__ == "__main__":
    main()
