"""Every recipe on the reference models: accuracy, divergence from float and size, each row from a compiled artifact.

    python -m bench.accuracy.recipes --models fashion_mnist             (figures in bench/results/recipes.json)
    python -m bench.accuracy.recipes --cifar FOLDER --only default gptq --widths 2/8 3/3

A recipe's layers have one width each (`4/4`), and where it chooses widths also those that it chooses (`4bit`). `kl` is the mean
divergence of the float model's answers from the artifact's, which ranks better than accuracy. A row holds the digest of what it
came from (`bench.common.cells`): a run makes only those that are missing or came from something else.
`same`: recipes that without training come to the same artifact, and share the row.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.common.cells import Cells
from bench.common.distinct import sharing
from bench.common.run import arguments
from bench.common.subjects import CIFAR, Subject, depends, evaluated, float_answers, is_budget, subject
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline

CELL = ("model", "recipe", "widths", "attention", "images", "calib_images", "seed")
COLUMNS = (*CELL, "top1", "drop", "kl", "agreement", "payload_bytes", "seconds")
CHOOSING = ("default", "lampq", "mptq", "vtptq")  # recipes that choose widths as well


def requests(args: argparse.Namespace, subject: Subject) -> Iterator[tuple[str, str, int, Options]]:
    """(recipe, widths, seed, options) of each row."""
    for recipe in args.only or sharing():
        chosen = [f"{b}bit" for b in (4, 3)] if recipe in CHOOSING and args.widths is None else []
        for widths in [*(args.widths or ["4/4", "3/3"]), *chosen]:
            for seed in range(args.seeds):
                budget = {"budgets": (widths,)} if is_budget(widths) else {}
                shared = {"calib_images": args.calib_images, "sens_images": args.sens_images, "recipe": recipe, "seed": seed}
                yield recipe, widths, seed, Options(**subject.options, **shared, **budget, attention_bits=args.attention_bits)


def row(options: Options, widths: str, folder: Path, own: Subject, exact: np.ndarray) -> dict[str, Any]:
    """What is found out about a recipe's artifact, and the recipes that come to the same one."""
    same = sharing().get(Path(options.recipe).stem, [])
    return evaluated(options, widths, folder, own, exact) | ({"same": same} if same else {})


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
    cells = Cells(args.output, CELL)
    for name in args.models:
        own = subject(name, args.cifar, args.images)
        exact = float_answers(own)
        for recipe, widths, seed, options in requests(args, own):
            facts = (Path(recipe).stem, widths, args.attention_bits, len(own.labels), args.calib_images, seed)
            cell = dict(zip(CELL, (name, *facts), strict=True))
            made = partial(row, options, widths, args.work, own, exact)
            found = cells.get(cell, depends(Pipeline(options), widths), made)
            told = f"top1 {100 * found['top1']:.2f} (drop {found['drop']:.2f}), kl {found['kl']:.4f}"
            print(f"{name} {recipe} {widths} seed {seed}: {told}, {found['seconds']} s", file=sys.stderr, flush=True)
    cells.show(COLUMNS)


if __name__ == "__main__":
    main()
