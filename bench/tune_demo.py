"""Tunes the products of the shipped Fashion-MNIST model at every pair of widths: default and tuned schedules side by side.

    python bench/tune_demo.py             (figures in bench/results/tune_demo.json, records in --work)
    python bench/tune_demo.py --levels dotprod --trials 12        (instruction counts on an emulated board)
    python bench/tune_demo.py --ship      (records into schedules/ as well)

Widths that run the same instructions share a kernel: 6 kernels on VNNI and dot product, 36 on AVX2, 30 on plain NEON. A killed
run goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from common import arguments, finish, machine

from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.resources import data_dir
from lampq_tvm.targets import FEATURES, GENERIC, LEVELS, Target, local_features, resolve_target
from lampq_tvm.tune.records import Record, kernel_key, read_record
from lampq_tvm.tune.run import tune_kernels
from lampq_tvm.tune.space import Kernel

CHANNELS, PATCHES, PATCH_PIXELS, CLASSES = 96, 49, 16, 10
TOKENS = PATCHES + 1
EMBED = ProductShape(PATCHES, CHANNELS, PATCH_PIXELS, "stream", PATCHES)
SHAPES = (
    ProductShape(TOKENS, 3 * CHANNELS, CHANNELS, "codes"),
    ProductShape(TOKENS, CHANNELS, CHANNELS, "residual"),
    ProductShape(TOKENS, 4 * CHANNELS, CHANNELS, "table"),
    ProductShape(TOKENS, CHANNELS, 4 * CHANNELS, "residual"),
    ProductShape(1, CLASSES, CHANNELS, "float"),
)
LEVELS_SHOWN = ("vbmi", "vnni", "avx2", "i8mm", "dotprod", "neon")
BOARDS = {"i8mm": "jetson-agx-thor:cpu", "dotprod": "raspberry-pi-5", "neon": "raspberry-pi-4"}


def kernels(isa: str) -> list[Kernel]:
    """The distinct kernels of the model at widths 8 to 2, the widest that share one."""
    widths = range(8, 1, -1)
    every = [Kernel(EMBED, isa, w, 8) for w in widths]
    every += [Kernel(shape, isa, w, a) for shape in SHAPES for w in widths for a in widths]
    found: dict[str, Kernel] = {}
    for kernel in every:
        found.setdefault(kernel_key(kernel.shape, kernel.dot), kernel)
    return list(found.values())


def level(isa: str) -> tuple[Target, str]:
    """Target and device of a level: this machine, limited to it, or an emulated board."""
    host = resolve_target("host")
    if isa not in LEVELS[host.kind] or not set(FEATURES[isa]) <= local_features():
        return resolve_target(BOARDS[isa]), "emulated"
    mcpu, mattr = GENERIC[isa]
    tvm = {**host.tvm, "mcpu": mcpu, "mattr": list(mattr)}
    return dataclasses.replace(host, isa=isa, tvm=tvm, features=FEATURES[isa]), "local"


def records(database: Path) -> list[Record]:
    """The records of every level tuned so far."""
    keys = [(isa, kernel_key(kernel.shape, kernel.dot)) for isa in LEVELS_SHOWN for kernel in kernels(isa)]
    return [record for isa, key in keys if (record := read_record(database, isa, key))]


def row(record: Record) -> dict[str, Any]:
    """A row of the table."""
    facts = record.model_dump(include={"isa", "kernel", "unit", "kind", "trials", "failed"})
    tiles = "x".join(map(str, record.tiles.model_dump().values()))
    speedup = round(record.default_cost / record.cost, 2)
    return {**facts, "tiles": tiles, "default": record.default_cost, "tuned": record.cost, "speedup": speedup}


def main() -> None:
    """Tune level by level, then print what the records of all levels say."""
    parser = arguments(__doc__, "tune_demo")
    here = [isa for isa in LEVELS_SHOWN if set(FEATURES[isa]) <= local_features()]
    parser.add_argument("--levels", nargs="+", choices=sorted(GENERIC), default=here)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--ship", action="store_true", help="copy the records into schedules/")
    options = parser.parse_args()
    for isa in options.levels:
        target, device = level(isa)
        tune_kernels(kernels(isa), target, trials=options.trials, device=device, database=options.work)
    rows = [row(record) for record in records(options.work)]
    if options.ship:
        for record in records(options.work):
            record.save(data_dir("schedules"))
    columns = ("isa", "kernel", "tiles", "default", "tuned", "unit", "speedup", "trials", "failed")
    finish(options.output, columns, rows, machine=machine())


if __name__ == "__main__":
    main()
