"""The sum over a model's kernels beside the whole model, with the schedules that ship: the error of adding up, at 8/8, batch 1.

    python -m bench.estimates.additivity          (figures in bench/results/additivity.json)
    python -m bench.estimates.additivity --models deit_tiny --targets raspberry-pi-5

On this machine both are measured (times of a busy machine differ by more than the error); on an emulated board both are
estimates from counted instructions of one thread. Finished cases are kept in --work.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from bench.common.networks import MODELS, network
from bench.common.run import Pieces, arguments, finish, machine
from lampq_tvm.device.kinds import PLAYED, find_device
from lampq_tvm.latency.bench import timing_bench
from lampq_tvm.latency.measure import whole_model
from lampq_tvm.lower.module import lower_calls
from lampq_tvm.progress import track
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.records.cpu import Records
from lampq_tvm.targets import resolve_target

TARGETS = ("raspberry-pi-4", "raspberry-pi-5", "jetson-agx-orin-64gb:cpu", "jetson-agx-thor:cpu", "host")
COLUMNS = ("model", "target", "kind", "calls", "sum_ms", "whole_ms", "error_percent")


def compare(qm: QuantizedModel, model: str, name: str) -> dict[str, Any]:
    """A row of the table."""
    target, tiles, device = resolve_target(name), Records(None), find_device(None if name == "host" else PLAYED)
    calls, _ = lower_calls(qm, target.isa, 1, tiles)
    times, functions = Counter(call.kernel for call in calls), {call.kernel: call.build() for call in calls}
    with timing_bench(functions, target, device, 1) as kernels:
        total = sum(times[kernel] * kernels.time(kernel).median_ms for kernel in functions)
        whole = whole_model(qm, target, kernels, 1, tiles)
    found = {"sum_ms": round(total, 3), "whole_ms": round(whole.median_ms, 3)}
    error = round(100 * (total / whole.median_ms - 1), 1)
    return {"model": model, "target": name, "kind": whole.kind, "calls": len(calls), **found, "error_percent": error}


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "additivity")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    o = parser.parse_args()
    facts, rows = machine(), []
    for model in o.models:
        qm = network(*MODELS[model])
        for name in track(list(o.targets), model):
            records = Records(None).digest(resolve_target(name).isa)
            pieces = Pieces(o.work, records)
            rows.append(pieces.get(f"{model}-{name.replace(':', '_')}", lambda q=qm, m=model, n=name: compare(q, m, n)))
    finish(o.output, COLUMNS, rows, machine=facts)


if __name__ == "__main__":
    main()
