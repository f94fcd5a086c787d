"""Tunes the kernels of the models that records ship for: default and tuned schedules side by side.

    python -m bench.tuning.tune_shipped          (records in --work)
    python -m bench.tuning.tune_shipped --models deit_tiny --levels dotprod --trials 12  (estimated cycles on an emulated core)
    python -m bench.tuning.tune_shipped --ship   (copies the records into schedules/)
    python -m bench.tuning.tune_shipped --show   (tunes nothing, and shows the records that ship)

Widths that run the same instructions share a kernel; levels on which fewer bits run other ones are tuned at `PAIRS`. A killed
run goes on where it stopped.
"""

from __future__ import annotations

import functools

from bench.common.networks import BOARDS, MODELS, network, runs_here
from bench.common.run import ROOT, arguments, finish, machine
from bench.common.shipped import COLUMNS, LEVELS_SHOWN, records, row, summary
from lampq_tvm.cli.output import print_table
from lampq_tvm.device.kinds import find_device
from lampq_tvm.kernels.tunable import AttentionKernel, Kernel, LayerNormKernel, ProductKernel
from lampq_tvm.latency.work import at_widths
from lampq_tvm.levels import CPU_LEVELS
from lampq_tvm.resources import data_dir
from lampq_tvm.targets import Target, level_target, resolve_target
from lampq_tvm.tune.run import tunable_kernels, tune_kernels

PAIRS = {
    "avx2": ((8, 8), (6, 8), (5, 8), (4, 8), (3, 8), (4, 4)),
    "neon": ((8, 8), (4, 8), (4, 4), (2, 4)),
}  # elsewhere all widths share their kernels
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
    return (level_target(CPU_LEVELS[isa]), "local") if runs_here(CPU_LEVELS[isa]) else (resolve_target(BOARDS[isa]), "emulated")


def main() -> None:
    """Tune level by level, then print what the records of all levels say."""
    parser = arguments(__doc__, "tune_shipped")
    here = [isa for isa in LEVELS_SHOWN if runs_here(CPU_LEVELS[isa])]
    parser.add_argument("--levels", nargs="+", choices=sorted(LEVELS_SHOWN), default=here)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--show", action="store_true", help="tune nothing, and show the records that ship")
    parser.add_argument("--ship", action="store_true", help="copy the records into schedules/")
    parser.set_defaults(output=ROOT / "build" / "bench" / "tune_shipped.json")  # schedules/ holds the same
    options = parser.parse_args()
    for isa in [] if options.show else options.levels:
        target, device = level(isa)
        found = kernels(options.models, isa, options.kinds)
        tune_kernels(found, target, trials=options.trials, device=find_device(device), database=options.work)
    made = list(records(data_dir("schedules") if options.show else options.work))
    rows = [row(record) for record in made]
    levels = [summary(isa, own) for isa in LEVELS_SHOWN if (own := [row for row in rows if row["isa"] == isa])]
    for record in made if options.ship else []:
        record.save(data_dir("schedules"))
    finish(options.output, COLUMNS, rows, machine=machine(), levels=levels)
    print_table(list(levels[0]), [list(each.values()) for each in levels])


if __name__ == "__main__":
    main()
