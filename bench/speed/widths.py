"""Whether fewer bits are ever slower than more: each product of a model at every pair of widths, on every level.

    python -m bench.speed.widths                (this machine and the emulated boards; figures in bench/results/widths.json)
    python -m bench.speed.widths --levels avx2

On this machine milliseconds on one thread with the schedules that ship, the least of many turns that a layer's kernels
take; on emulated boards million instructions. `slower`: the largest ratio of a pair to one with no fewer bits in either
width, and `at` which pair that is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from bench.common.networks import BOARDS, MODELS, network, runs_here
from bench.common.run import arguments, finish, machine
from lampq_tvm.device.kinds import find_device
from lampq_tvm.device.native import count_kernel
from lampq_tvm.latency.bench import arguments as operands
from lampq_tvm.latency.bench import timing_bench
from lampq_tvm.latency.work import Work, plan_work
from lampq_tvm.levels import CPU_LEVELS, CpuLevel
from lampq_tvm.progress import track
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.records.cpu import Records
from lampq_tvm.targets import level_target, resolve_target

COLUMNS = ("level", "layer", "unit", "8/8", "4/8", "2/8", "slower", "at")
TURNS = 6
BUILDS = 3  # a kernel is faster or slower by where its code and its operands lie


def figures(work: Work, level: CpuLevel, names: list[str]) -> dict[str, float]:
    """Each kernel's time or count."""
    functions = {name: work.kernels[name].build() for name in names}
    if not runs_here(level):
        target = resolve_target(BOARDS[level.name])
        each = track(names, level.name)
        return {name: count_kernel(functions[name], operands(functions[name])[:-1], target)[1] / 1e6 for name in each}
    found = dict.fromkeys(names, float("inf"))
    for _ in range(BUILDS):
        with timing_bench(functions, level_target(level), find_device(), 1) as bench:
            for _, name in itertools.product(range(TURNS), names):
                found[name] = min(found[name], bench.time(name).median_ms)
    return found


def slower(own: dict[tuple[int, int], float], pair: tuple[int, int]) -> float:
    """The largest ratio of a pair's figure to that of a pair with no fewer bits.

    >>> slower({(4, 8): 1.5, (8, 8): 1.0}, (4, 8))
    1.5
    >>> slower({(4, 8): 1.5, (8, 8): 1.0}, (8, 8))
    1.0
    """
    return max(own[pair] / value for wide, value in own.items() if wide[0] >= pair[0] and wide[1] >= pair[1])


def rows(qm: QuantizedModel, level: CpuLevel) -> Iterator[dict[str, Any]]:
    """Every distinct product of a network at each pair of widths."""
    records = Records(None)
    work = plan_work(qm, level.name, 1, records if runs_here(level) else lambda kernel: None)
    layers = {tuple(pairs.values()): (name, pairs) for name, pairs in reversed(work.layers.items())}  # blocks are alike
    for layer, pairs in reversed(layers.values()):
        times = figures(work, level, sorted({*pairs.values()}))  # what is compared is measured together
        own = {pair: times[name] for pair, name in pairs.items()}
        worst = max(own, key=lambda pair: slower(own, pair))
        facts = {"slower": round(slower(own, worst), 3), "at": "{}/{}".format(*worst)}
        named = {"{}/{}".format(*pair): round(value, 4) for pair, value in own.items()}
        yield {"level": level.name, "layer": layer, "unit": "ms" if runs_here(level) else "million", **facts, **named}


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "widths")
    levels = [level.name for level in CPU_LEVELS.values() if level.name in BOARDS or runs_here(level)]
    parser.add_argument("--levels", nargs="+", choices=levels, default=levels)
    parser.add_argument("--model", choices=list(MODELS), default="deit_small")
    options = parser.parse_args()
    qm = network(*MODELS[options.model])
    found = [row for name in options.levels for row in rows(qm, CPU_LEVELS[name])]
    finish(options.output, COLUMNS, found, model=options.model, machine=machine())
    for name in options.levels:
        worst = max((row for row in found if row["level"] == name), key=lambda row: row["slower"])
        print(f"{name}: at most {worst['slower']:.3f}x a wider pair ({worst['layer']} at {worst['at']})")


if __name__ == "__main__":
    main()
