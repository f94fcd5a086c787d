"""How long the tool itself takes."""

from __future__ import annotations

from statistics import median

from bench.common.shipped import LEVELS_SHOWN, records, row, summary
from bench.report.tables import ROOT, SHORT, figure, load, table

LEVELS = {
    "vbmi": "AVX-512 VBMI",
    "vnni": "AVX-512 VNNI",
    "avx2": "AVX2",
    "i8mm": "int8 matrix multiply",
    "dotprod": "dot product",
    "neon": "plain NEON",
}


def compile_times() -> str:
    """Whole commands."""
    rows = load("compile_times")["rows"]
    lines = [
        [r["what"], r["target"], r["kept"], figure(r["seconds"]), f"{r['peak_rss_mib'] / 1024:.1f}", r["limit_s"]] for r in rows
    ]
    return f"""## Compile times

`python -m bench.workstation.compile_times`: DeiT-T at 224, fresh processes on two cores.

{table(["command", "target", "kept from before", "seconds", "peak memory, GiB", "limit, s"], lines)}"""


def choosing() -> str:
    """Calibration, sensitivity and the program."""
    found = load("choosing")["rows"]
    stages = [name.removesuffix("_seconds") for name in found[0] if name.endswith("_seconds")]
    lines = [
        [SHORT.get(row["model"], row["model"]), f"{row['images']} {row['data']}"]
        + [f"{figure(row[f'{stage}_seconds'])} s, {row[f'{stage}_mib'] / 1024:.1f} GiB" for stage in stages]
        for row in found
    ]
    return f"""`python -m bench.workstation.choosing --data PHOTOS`: until a plan stands, each stage a process of its own that
finds what came before in the cache; time, and most memory of the process:

{table(["model at 224", "images", *stages], lines)}"""


def families() -> str:
    """Other families from nothing."""
    rows = load("families")["rows"]
    keys, shares = ("model", "size", "cpu_s", "peak_gb"), ("of_weights", "of_unavoidable")
    lines = [[*(row[key] for key in keys), *(f"{row[key]:.3f}" for key in shares)] for row in rows]
    head = ["model", "image", "CPU seconds", "peak memory, GB", "payload / weights' bytes", "/ unavoidable bytes"]
    return f"""Other families, 8 bits, 8 calibration images, from nothing (`python -m bench.workstation.families`;
seconds of one core's time on a busy machine; each ended with two images' logits equal to the reference's bit for bit).
The last column counts equal tables each time, a payload stores them once, so it may fall below 1:

{table(head, lines)}"""


def busy() -> str:
    """Whole jobs beside busy loops."""
    rows = load("busy")["rows"]
    lines = []
    for r in rows:
        more, killed = ("over ", ", killed") if r["over"] else ("", "")
        times = [f"{more}{r['seconds']:.1f}{killed}", f"{more}{r['times_idle']:.1f}"]
        lines.append([r["job"], r["tree"], r["busy"], *times])
    return f"""## Beside busy processes

`python -m bench.workstation.busy --tree BEFORE --tree .`: whole jobs in fresh processes with empty caches, one run
each, on the idle machine and beside busy loops; `before` is the tree of before operations were spread over items.

{table(["job", "tree", "busy loops beside", "seconds", "times idle"], lines)}"""


def solver() -> str:
    """The integer program."""
    found = load("ilp")
    tied, apart = ([r["seconds"] for r in found["rows"] if r["kind"] == kind] for kind in ("tied", "separate"))
    return f"""## Integer program

`python -m bench.workstation.ilp`: random instances of 200 layers, 7 widths and 3 budgets that all bind: median
{median(tied):.2f} s, the slowest of {len(tied)} {max(tied):.2f} s, proved optimal; with widths of weights and
activations apart (49 pairs) {min(apart):.1f} to {max(apart):.1f} s."""


def tuning() -> str:
    """What the shipped records gain, and tuning that is killed."""
    rows = [row(record) for record in records(ROOT / "schedules")]
    lines = []
    for isa in LEVELS_SHOWN:
        found = summary(isa, [one for one in rows if one["isa"] == isa])
        unit = {"us": "us, measured", "cycles": "cycles, estimated"}[found["unit"]]
        gains = [f"{found[key]:.2f}x" for key in ("least", "median", "most")]
        lines.append(
            [
                LEVELS[isa],
                unit,
                found["tasks"],
                found["candidates"],
                f"{found['failed_percent']:.1f} %",
                *gains,
                f"{found['all_tasks']:.3f}x",
            ]
        )
    killed = load("tune_killed")["rows"]
    keys = ("target", "seconds", "tasks", "unbuilt", "candidates", "failed", "kills", "lost", "repeated")
    return f"""## Tuning

The records in `schedules/` (`python -m bench.tuning.tune_shipped --show` lists every kernel), default schedules against
tuned ones, for DeiT-T, DeiT-S, ViT-B, Swin-T and the demo's model; a record must gain 2 %, else the default schedule
stays ([how](tuning.md)):

{table(["level", "unit", "kernels", "candidates", "failed", "gain: least", "median", "most", "all together"], lines)}

`python -m bench.tuning.tune_killed`: DeiT-T from nothing, killed on the way, two cores shared with other programs;
`lost` and `repeated` are trials:

{table(keys, [[row[key] for key in keys] for row in killed])}"""
