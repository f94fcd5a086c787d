"""Estimated cycles of a model's kernels (device/cost.py) against llvm-mca, for each core with figures; one image, one thread.

    python -m bench.estimates.estimates --model deit_tiny_patch16_224        (figures in bench/results/estimates.json)

Neither is a measurement: llvm-mca too knows no caches and no branch prediction. Its models are LLVM's, see llvm_mca.py. Those
blocks of a kernel are taken that make at least 1/2000 of its instructions. `fixed_rate` is what two instructions a cycle say.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm.tirx import PrimFunc

from bench.common import llvm_mca
from bench.common.networks import network
from bench.common.run import arguments, finish, machine
from lampq_tvm.device.native import count_classes
from lampq_tvm.device.native_core import NativeCore
from lampq_tvm.latency import bench
from lampq_tvm.latency.work import at_widths
from lampq_tvm.lower.module import default_schedules, lower_calls
from lampq_tvm.progress import track
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.targets import Target, resolve_target

BOARDS = ("raspberry-pi-4", "raspberry-pi-5", "jetson-agx-orin-64gb:cpu", "jetson-agx-thor:cpu")
PAIRS = ((8, 8), (4, 8), (4, 4), (2, 2))
COLUMNS = ("core", "model", "kernels", "mean_error_percent", "largest_error_percent", "total_ratio", "fixed_rate_error_percent")


def kernels(qm: QuantizedModel, target: Target) -> dict[str, PrimFunc]:
    """The distinct kernels of the network at `PAIRS`, by name."""
    found = {}
    for w_bits, a_bits in PAIRS:
        calls, _ = lower_calls(at_widths(qm, w_bits, a_bits), target.isa, 1, default_schedules)
        found.update({call.kernel: call.build for call in calls})
    return {name: build() for name, build in sorted(found.items())}


def compare(function: PrimFunc, target: Target, core: NativeCore) -> dict[str, Any]:
    """Cycles of one kernel by both, over the blocks of its library that matter."""
    if core.figures is None:
        raise AssertionError("the boards of this bench have figures")
    counted = count_classes(function, bench.arguments(function)[:-1], target, core=core, blocks=True)
    total = sum(b.executions * len(b.words) for b in counted.blocks)  # without memcpy and the like
    hot = [b for b in counted.blocks if b.executions * len(b.words) >= llvm_mca.SMALL * total]
    model = llvm_mca.MODELS[core.figures.name]
    theirs = sum(b.executions * c for b, c in zip(hot, llvm_mca.cycles(hot, model), strict=True))
    ours = sum(b.executions * core.figures.cycles(b.classes) for b in hot)
    instructions = sum(b.executions * len(b.words) for b in hot)
    return {"instructions": instructions, "estimate": round(ours), "llvm_mca": round(theirs), "ratio": round(ours / theirs, 3)}


def summary(core: str, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Errors over a core's kernels; each kernel counts once."""
    ratios = np.array([row["estimate"] / row["llvm_mca"] for row in rows.values()])
    fixed = np.array([row["instructions"] / bench.ASSUMED_IPC / row["llvm_mca"] for row in rows.values()])
    total = sum(row["estimate"] for row in rows.values()) / sum(row["llvm_mca"] for row in rows.values())
    errors = 100 * abs(ratios - 1)
    return {
        "core": core,
        "model": f"LLVM {llvm_mca.VERSION}, {llvm_mca.MODELS[core]}",
        "kernels": len(rows),
        "mean_error_percent": round(float(errors.mean()), 1),
        "largest_error_percent": round(float(errors.max()), 1),
        "total_ratio": round(total, 3),
        "fixed_rate_error_percent": round(float(100 * abs(fixed - 1).mean()), 1),
    }


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "estimates")
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    args = parser.parse_args()
    facts, qm, rows, details = machine(), network(args.model), [], {}
    for board in BOARDS:
        target, core = resolve_target(board), NativeCore(board.partition(":")[0])
        name = core.board.cpu.core or ""
        every = kernels(qm, target)
        details[name] = {k: compare(f, target, core) for k, f in track(list(every.items()), name)}
        rows.append(summary(name, details[name]))
    finish(args.output, COLUMNS, rows, machine=facts, network=args.model, kernels=details)


if __name__ == "__main__":
    main()
