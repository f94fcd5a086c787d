"""How far estimates lie from what they estimate, and what the planner makes of them."""

from __future__ import annotations

from bench.report.tables import Row, figure, kilobytes, load, one, table

TARGETS = {
    "raspberry-pi-4": "Pi 4 (NEON), estimated",
    "raspberry-pi-5": "Pi 5 (dot product), estimated",
    "jetson-agx-orin-64gb:cpu": "AGX Orin's cores (dot product), estimated",
    "jetson-agx-thor:cpu": "AGX Thor's cores (int8 matrix multiply), estimated",
    "host": "this machine, measured beside other work",
}
MODELS = {
    "fashion_mnist": "the demo's",
    "deit_tiny": "DeiT-T",
    "deit_small": "DeiT-S",
    "vit_base": "ViT-B",
    "swin_tiny": "Swin-T",
}
TYPES = ("qkv", "proj", "fc1", "fc2", "rest")


def against_mca() -> str:
    """The estimate of a core's cycles against llvm-mca's."""
    found = load("estimates")
    lines = [
        [
            row["core"],
            row["model"],
            row["kernels"],
            row["mean_error_percent"],
            row["largest_error_percent"],
            row["fixed_rate_error_percent"],
        ]
        for row in found["rows"]
    ]
    head = ["core", "llvm-mca's model", "kernels", "mean error, %", "largest, %", "two instructions a cycle would be off by, %"]
    return f"""## Estimated cycles of Arm cores

`python -m bench.estimates.estimates`: every kernel of DeiT-T at four pairs of widths; llvm-mca is no measurement either
([estimates](estimates.md)).

{table(head, lines)}

LLVM has no model of the last two cores: they are held against those of the N1 and the V2, so part of their error is the
other core's."""


def hot_blocks() -> str:
    """llvm-mca's cycles of DeiT-T's blocks."""
    found = load("hot_blocks")
    rows = [row for row in found["rows"] if row["kernel"] == "all" or row["kernel"].startswith("these")]
    lines = [[row["schedule"], row["kernel"], row["million_instructions"], row["million_cycles"]] for row in rows]
    return f"""`python -m bench.estimates.hot_blocks`: llvm-mca's cycles of DeiT-T's hot blocks on the {found["core"]},
one image:

{table(["schedules", "blocks", "million instructions", "million cycles"], lines)}"""


def additivity() -> str:
    """The sum of a model's kernels against the whole model."""
    rows = load("additivity")["rows"]
    known = {(row["model"], row["target"]): f"{row['error_percent']:+.1f}" for row in rows}
    lines = [[label, *(known.get((model, target)) for model in MODELS)] for target, label in TARGETS.items()]
    return f"""## The sum of kernels against the whole model

`python -m bench.estimates.additivity`: 8/8, batch 1, one thread; the whole counts TVM's runtime too, which weighs less
in a larger model; `-` was not run. Percent by which the sum lies off:

{table(["", *MODELS.values()], lines)}"""


def plan_row(row: Row) -> list[str | None]:
    """A line of the table of plans."""
    name = {"raspberry-pi-4": "Pi 4 (NEON)", "raspberry-pi-5": "Pi 5 (dot product)"}[row["board"]]
    if "infeasible" in row:
        return [name, row["budget"], "refused", *[None] * (len(TYPES) + 2)]
    widths = f"{row['avg_w_bits']:.2f} / {row['avg_a_bits']:.2f}"
    payload = kilobytes(row["payload_bytes"]) if row["payload_bytes"] else None
    return [name, row["budget"], widths, payload, figure(row["ms"]), *(f"{row[kind]:.2f}" for kind in TYPES)]


def plans() -> str:
    """Plans under a board's latency."""
    rows = load("plan_latency")["rows"]
    eight = one(rows, board="raspberry-pi-5", budget="uniform 8/8")
    return f"""## Plans under a board's latency

`python -m bench.speed.plan_latency`: the demo's model, shipped records; both boards emulated, so milliseconds are
estimates from counted instructions of one thread. On plain NEON fewer bits run fewer instructions, and a budget of time
buys speed with bits; with the dot product every width runs the same instructions: no plan is faster than 8/8
({eight["ms"]:.3f} ms), a tighter budget of time is refused (exit code 4, the nearest feasible one is named), and bits
are taken away for size alone. Milliseconds by layer type:

{table(["board", "budget", "average w / a", "payload", "ms", *TYPES], map(plan_row, rows))}"""
