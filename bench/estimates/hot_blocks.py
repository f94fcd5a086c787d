"""llvm-mca's cycles of a model's hottest blocks, default schedules against tuned ones: one image, one emulated thread.

    python -m bench.estimates.hot_blocks          (DeiT-T on the dot product core; figures in bench/results/hot_blocks.json)

A block is a run of instructions without a branch into or out of it; the hottest ones execute most instructions. `all` are all
blocks that make at least 1/2000 of their kernel's instructions. llvm-mca knows no caches; nothing here is a time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from bench.common import llvm_mca
from bench.common.networks import network
from bench.common.run import arguments, finish, machine
from lampq_tvm.device.classes import Block
from lampq_tvm.device.native import count_classes
from lampq_tvm.device.native_core import NativeCore
from lampq_tvm.latency import bench
from lampq_tvm.lower.context import TilesFor
from lampq_tvm.lower.module import default_schedules, lower_calls
from lampq_tvm.progress import track
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.records.cpu import Records
from lampq_tvm.targets import Target, resolve_target

HOTTEST = 10
COLUMNS = ("schedule", "kernel", "calls", "executions", "length", "million_instructions", "million_cycles")


@dataclass(frozen=True)
class Hot:
    """A block of a kernel that the model calls `calls` times."""

    kernel: str
    calls: int
    block: Block

    @property
    def executions(self) -> int:
        """How often an image executes it."""
        return self.calls * self.block.executions

    @property
    def instructions(self) -> int:
        """Instructions of an image."""
        return self.executions * len(self.block.words)


def blocks(qm: QuantizedModel, target: Target, core: NativeCore, tiles: TilesFor, what: str) -> list[Hot]:
    """The blocks that matter of every kernel, the hottest first."""
    calls, _ = lower_calls(qm, target.isa, 1, tiles)
    times, build = Counter(call.kernel for call in calls), {call.kernel: call.build for call in calls}
    found = []
    for name in track(sorted(build), what):
        function = build[name]()
        counted = count_classes(function, bench.arguments(function)[:-1], target, core=core, blocks=True)
        total = sum(b.executions * len(b.words) for b in counted.blocks)
        found += [Hot(name, times[name], b) for b in counted.blocks if b.executions * len(b.words) >= llvm_mca.SMALL * total]
    return sorted(found, key=lambda hot: -hot.instructions)


def rows(schedule: str, hot: list[Hot], model: str) -> list[dict[str, Any]]:
    """The hottest blocks, their sum, and the sum of all."""
    cycles = [h.executions * c for h, c in zip(hot, llvm_mca.cycles([h.block for h in hot], model), strict=True)]
    found = [
        {"kernel": h.kernel, "calls": h.calls, "executions": h.executions, "length": len(h.block.words), **_millions([h], [c])}
        for h, c in list(zip(hot, cycles, strict=True))[:HOTTEST]
    ]
    found.append({"kernel": f"these {HOTTEST}", **_millions(hot[:HOTTEST], cycles[:HOTTEST])})
    found.append({"kernel": "all", **_millions(hot, cycles)})
    return [{"schedule": schedule, **row} for row in found]


def _millions(hot: list[Hot], cycles: list[float]) -> dict[str, float]:
    instructions = sum(h.instructions for h in hot)
    return {"million_instructions": round(instructions / 1e6, 2), "million_cycles": round(sum(cycles) / 1e6, 2)}


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "hot_blocks")
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument("--target", default="raspberry-pi-5")
    o = parser.parse_args()
    facts, target, qm = machine(), resolve_target(o.target), network(o.model)
    core = NativeCore(o.target.partition(":")[0])
    if core.figures is None:
        raise SystemExit("this board's core has no figures, so no model of llvm-mca either")
    model, found = llvm_mca.MODELS[core.figures.name], []
    for schedule, tiles in (("default", default_schedules), ("tuned", Records(None))):
        found += rows(schedule, blocks(qm, target, core, tiles, schedule), model)
    about = {"network": o.model, "core": core.figures.name, "llvm_mca": f"{llvm_mca.VERSION}, {model}", "kind": "estimated"}
    finish(o.output, COLUMNS, found, machine=facts, **about)


if __name__ == "__main__":
    main()
