"""What the planner makes of a board's latency: plans of the shipped Fashion-MNIST model under budgets of time and of size.

    python -m bench.speed.plan_latency          (figures in bench/results/plan_latency.json)

Both boards are emulated, so their milliseconds are estimates from counted instructions. On plain NEON (Raspberry Pi 4) fewer
bits run fewer instructions, and a budget of time buys speed with bits; with the dot product (Raspberry Pi 5) all widths run the
same instructions, so time is no reason to take bits away and only a budget of size is. `whole_ms` is the whole model at 8/8,
estimated in the same way; beside it stands the sum over its parts.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from bench.common.run import arguments, finish, machine
from bench.common.sample import MODEL, model_options
from lampq_tvm.allocate.costs import plan_ms
from lampq_tvm.api.measuring import measure_pipeline
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.bitplan import BitPlan, uniform_plan
from lampq_tvm.errors import InfeasibleError
from lampq_tvm.latency.table import LatencyTable
from lampq_tvm.network.model import ImportedModel

BOARDS = ("raspberry-pi-4", "raspberry-pi-5")
TIMES = (1.0, 0.94, 0.85, 0.75)  # of the 8/8 plan's predicted time
SIZES = ("600kB", "400kB")
COLUMNS = ("board", "budget", "avg_w_bits", "avg_a_bits", "payload_bytes", "ms", "qkv", "proj", "fc1", "fc2", "rest")


def where_time_goes(plan: BitPlan, model: ImportedModel, table: LatencyTable) -> dict[str, float]:
    """Predicted milliseconds by layer type; `rest` is what no plan changes, and patch embedding and head."""
    spent: dict[str, float] = defaultdict(float)
    for row in plan.layers:
        spent[row.type if row.type in COLUMNS else "rest"] += table.ms(row.name, row.w_bits, row.a_bits)
    spent["rest"] += table.fixed_ms
    return {name: round(ms, 4) for name, ms in spent.items()}


def row_of(board: str, budget: str, plan: BitPlan, model: ImportedModel, table: LatencyTable) -> dict[str, Any]:
    """A row of the table."""
    averages = {"avg_w_bits": round(plan.avg_w_bits, 2), "avg_a_bits": round(plan.avg_a_bits, 2)}
    size = {"payload_bytes": plan.notes.get("payload_bytes"), "ms": round(plan_ms(plan, table), 4), "kind": table.kind}
    return {"board": board, "budget": budget, **averages, **size, **where_time_goes(plan, model, table)}


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "plan_latency")
    parser.add_argument("--metric", default="fisher_output")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    rows, sums = [], {}
    for board in BOARDS:
        shared = {"target": board, "device": "emulated", "allow_estimates": True, "metric": args.metric, **model_options()}
        pipeline = Pipeline(Options(MODEL, **shared))
        table = measure_pipeline(pipeline, args.work / f"{board}.json")
        eight = uniform_plan(pipeline.model, 8, 8)
        at_eight = plan_ms(eight, table)
        sums[board] = {"sum_ms": at_eight, "whole_ms": table.whole_ms and table.whole_ms.median_ms, "kind": table.kind}
        rows.append(row_of(board, "uniform 8/8", eight, pipeline.model, table))
        for budget in (*(f"{x * at_eight:.4f}ms" for x in TIMES), *SIZES):
            options = Options(MODEL, **shared, latency_table=args.work / f"{board}.json", budgets=(budget,), a_bits=None)
            try:
                rows.append(row_of(board, budget, Pipeline(options).plan, pipeline.model, table))
            except InfeasibleError as e:
                rows.append({"board": board, "budget": budget, "infeasible": f"{e}; {e.hint}"})
    finish(args.output, COLUMNS, rows, machine=machine(), sums=sums)
    for board, parts in sums.items():
        if parts["whole_ms"]:
            total, whole = parts["sum_ms"], parts["whole_ms"]
            error = 100 * (total / whole - 1)
            print(f"{board}: the parts at 8/8 add up to {total:.3f} ms, the whole takes {whole:.3f} ms ({error:+.1f} %)")


if __name__ == "__main__":
    main()
