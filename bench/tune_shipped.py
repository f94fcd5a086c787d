"""Tunes the kernels of the models that records ship for: default and tuned schedules side by side.

    python bench/tune_shipped.py          (figures in bench/results/tune_shipped.json, records in --work)
    python bench/tune_shipped.py --models deit_tiny --levels dotprod --trials 12    (estimated cycles on an emulated core)
    python bench/tune_shipped.py --ship   (records into schedules/, the whole table into bench/tune_shipped.md)

Widths that run the same instructions share a kernel; levels on which fewer bits run other ones are tuned at `PAIRS`. A killed
run goes on where it stopped. `--show` tunes nothing and reads the records that are there.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from common import CHECKPOINT, MODEL, ROOT, arguments, finish, machine
from estimates import network

from lampq_tvm.cli.output import print_table
from lampq_tvm.kernels.tunable import AttentionKernel, Kernel, LayerNormKernel, ProductKernel
from lampq_tvm.latency.work import at_widths
from lampq_tvm.records.cpu import Record, read_record
from lampq_tvm.resources import data_dir
from lampq_tvm.store import write_atomic
from lampq_tvm.targets import FEATURES, GENERIC, LEVELS, Target, local_features, resolve_target
from lampq_tvm.tune.run import tunable_kernels, tune_kernels

PAIRS = {"avx2": ((8, 8), (4, 8), (4, 4)), "neon": ((8, 8), (4, 8), (4, 4), (2, 4))}  # elsewhere all widths share their kernels
MODELS = {
    "fashion_mnist": (MODEL, CHECKPOINT),
    "deit_tiny": ("deit_tiny_patch16_224", None),
    "deit_small": ("deit_small_patch16_224", None),
    "vit_base": ("vit_base_patch16_224", None),
    "swin_tiny": ("swin_tiny_patch4_window7_224", None),
}
HEADING = "Default schedules against tuned ones"
ABOUT = """Printed by `python bench/tune_shipped.py --ship`. `us` are microseconds on the machine
that `results/tune_shipped.json` names; `cycles` are estimates from counted instructions on an emulated core.
Tiles: rows, vectors, group, unroll."""
LEVELS_SHOWN = ("vbmi", "vnni", "avx2", "i8mm", "dotprod", "neon")
BOARDS = {"i8mm": "jetson-agx-thor:cpu", "dotprod": "raspberry-pi-5", "neon": "raspberry-pi-4"}
COLUMNS = ("isa", "kernel", "tiles", "default", "tuned", "unit", "speedup", "trials", "failed")
KINDS = {"attention": AttentionKernel, "layernorm": LayerNormKernel, "product": ProductKernel}
networks = functools.cache(network)


def kernels(models: list[str], isa: str, kinds: list[str]) -> list[Kernel]:
    """The distinct kernels of models on a level."""
    found: dict[str, Kernel] = {}
    for model in models:
        for w_bits, a_bits in PAIRS.get(isa, ((8, 8),)):
            for kernel in tunable_kernels(at_widths(networks(*MODELS[model]), w_bits, a_bits), isa, 1):
                found.setdefault(kernel.key, kernel)
    return [kernel for kernel in found.values() if isinstance(kernel, tuple(KINDS[kind] for kind in kinds))]


def level(isa: str) -> tuple[Target, str]:
    """Target and device of a level: this machine, limited to it, or an emulated board."""
    host = resolve_target("host")
    if isa not in LEVELS[host.kind] or not set(FEATURES[isa]) <= local_features():
        return resolve_target(BOARDS[isa]), "emulated"
    mcpu, mattr = GENERIC[isa]
    tvm = {**host.tvm, "mcpu": mcpu, "mattr": list(mattr)}
    return dataclasses.replace(host, isa=isa, tvm=tvm, features=FEATURES[isa]), "local"


def records(database: Path) -> Iterator[Record]:
    """The records of every level in a database."""
    for isa in LEVELS_SHOWN:
        for path in sorted((database / isa).glob("*.json")):
            if record := read_record(database, isa, path.stem):
                yield record


def row(record: Record) -> dict[str, Any]:
    """A row of the table."""
    facts = record.model_dump(include={"isa", "kernel", "unit", "kind", "trials", "failed"})
    tiles = "x".join(map(str, record.tiles.model_dump().values()))
    speedup = round(record.default_cost / record.cost, 3)
    return {**facts, "tiles": tiles, "default": record.default_cost, "tuned": record.cost, "speedup": speedup}


def summary(isa: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A level's row of the compact table: how much faster than the default schedules."""
    speedups, tried = [row["speedup"] for row in rows], sum(row["trials"] for row in rows)
    return {
        "isa": isa,
        "unit": rows[0]["unit"],
        "tasks": len(rows),
        "candidates": tried,
        "failed_percent": round(100 * sum(row["failed"] for row in rows) / tried, 2),
        "least": round(min(speedups), 2),
        "median": round(median(speedups), 2),
        "most": round(max(speedups), 2),
        "all_tasks": round(sum(row["default"] for row in rows) / sum(row["tuned"] for row in rows), 3),
    }


def markdown(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    """A table as Markdown."""
    lines = [columns, ["---"] * len(columns), *([row[c] for c in columns] for row in rows)]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def main() -> None:
    """Tune level by level, then print what the records of all levels say."""
    parser = arguments(__doc__, "tune_shipped")
    here = [isa for isa in LEVELS_SHOWN if set(FEATURES[isa]) <= local_features()]
    parser.add_argument("--levels", nargs="+", choices=sorted(GENERIC), default=here)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--show", action="store_true", help="tune nothing")
    parser.add_argument("--ship", action="store_true", help="copy the records into schedules/, the table into tune_shipped.md")
    options = parser.parse_args()
    for isa in [] if options.show else options.levels:
        target, device = level(isa)
        found = kernels(options.models, isa, options.kinds)
        tune_kernels(found, target, trials=options.trials, device=device, database=options.work)
    rows = [row(record) for record in records(options.work)]
    levels = [summary(isa, own) for isa in LEVELS_SHOWN if (own := [row for row in rows if row["isa"] == isa])]
    if options.ship:
        for record in records(options.work):
            record.save(data_dir("schedules"))
        text = [f"# {HEADING}\n\n{ABOUT}\n", markdown(list(levels[0]), levels), markdown(COLUMNS, rows)]
        write_atomic(ROOT / "bench" / "tune_shipped.md", "\n".join(text).encode())
    finish(options.output, COLUMNS, rows, machine=machine(), levels=levels)
    print_table(list(levels[0]), [list(each.values()) for each in levels])


if __name__ == "__main__":
    main()
