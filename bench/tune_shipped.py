"""Tunes the products of the models that records ship for: default and tuned schedules side by side.

    python bench/tune_shipped.py          (figures in bench/results/tune_shipped.json, records in --work)
    python bench/tune_shipped.py --models deit_tiny --levels dotprod --trials 12    (estimated cycles on an emulated core)
    python bench/tune_shipped.py --ship   (records into schedules/ as well)

Widths that run the same instructions share a kernel; levels on which fewer bits run other ones are tuned at `PAIRS`. A killed
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

PAIRS = {"avx2": ((8, 8), (4, 8), (4, 4)), "neon": ((8, 8), (4, 8), (4, 4))}  # elsewhere all widths share their kernels


def vit(channels: int, patches: int, pixels: int, classes: int) -> list[ProductShape]:
    """Products of a Vision Transformer with a class token, at batch 1."""
    tokens = patches + 1
    return [
        ProductShape(patches, channels, pixels, "stream", patches),
        ProductShape(tokens, 3 * channels, channels, "codes"),
        ProductShape(tokens, channels, channels, "residual"),
        ProductShape(tokens, 4 * channels, channels, "table"),
        ProductShape(tokens, channels, 4 * channels, "residual"),
        ProductShape(1, classes, channels, "float"),
    ]


def swin(channels: int, side: int, stages: int) -> list[ProductShape]:
    """Products of a Swin Transformer's blocks, at batch 1; side: tokens along an edge of the first stage."""
    found = []
    for stage in range(stages):
        rows, c = (side >> stage) ** 2, channels << stage
        found += [ProductShape(rows, 3 * c, c, "codes"), ProductShape(rows, c, c, "residual")]
        found += [ProductShape(rows, 4 * c, c, "table"), ProductShape(rows, c, 4 * c, "residual")]
    return found


MODELS = {
    "fashion_mnist": vit(96, 49, 16, 10),
    "deit_tiny": vit(192, 196, 768, 1000),
    "deit_small": vit(384, 196, 768, 1000),
    "vit_base": vit(768, 196, 768, 1000),
    "swin_tiny": swin(96, 56, 4),
}
LEVELS_SHOWN = ("vbmi", "vnni", "avx2", "i8mm", "dotprod", "neon")
BOARDS = {"i8mm": "jetson-agx-thor:cpu", "dotprod": "raspberry-pi-5", "neon": "raspberry-pi-4"}


def kernels(models: list[str], isa: str) -> list[Kernel]:
    """The distinct kernels of models on a level."""
    found: dict[str, Kernel] = {}
    for shape in (shape for model in models for shape in MODELS[model]):
        for w_bits, a_bits in PAIRS.get(isa, ((8, 8),)):
            kernel = Kernel(shape, isa, w_bits, 8 if shape.epilogue == "stream" else a_bits)
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
    keys = [(isa, kernel_key(kernel.shape, kernel.dot)) for isa in LEVELS_SHOWN for kernel in kernels(list(MODELS), isa)]
    return [record for isa, key in keys if (record := read_record(database, isa, key))]


def row(record: Record) -> dict[str, Any]:
    """A row of the table."""
    facts = record.model_dump(include={"isa", "kernel", "unit", "kind", "trials", "failed"})
    tiles = "x".join(map(str, record.tiles.model_dump().values()))
    speedup = round(record.default_cost / record.cost, 2)
    return {**facts, "tiles": tiles, "default": record.default_cost, "tuned": record.cost, "speedup": speedup}


def main() -> None:
    """Tune level by level, then print what the records of all levels say."""
    parser = arguments(__doc__, "tune_shipped")
    here = [isa for isa in LEVELS_SHOWN if set(FEATURES[isa]) <= local_features()]
    parser.add_argument("--levels", nargs="+", choices=sorted(GENERIC), default=here)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--ship", action="store_true", help="copy the records into schedules/")
    options = parser.parse_args()
    for isa in options.levels:
        target, device = level(isa)
        tune_kernels(kernels(options.models, isa), target, trials=options.trials, device=device, database=options.work)
    rows = [row(record) for record in records(options.work)]
    if options.ship:
        for record in records(options.work):
            record.save(data_dir("schedules"))
    columns = ("isa", "kernel", "tiles", "default", "tuned", "unit", "speedup", "trials", "failed")
    finish(options.output, columns, rows, machine=machine())


if __name__ == "__main__":
    main()
