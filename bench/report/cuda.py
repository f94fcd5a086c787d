"""What a GPU showed, and times on paper beside it."""

from __future__ import annotations

import json
from statistics import median

from bench.report.tables import RESULTS, Row, bold, load, one, ratio, table

PLACES = [("deit_tiny", 1), ("deit_tiny", 32), ("deit_small", 1), ("deit_small", 8), ("deit_small", 32)]
WAYS = {"16": "ours float16", "8": "ours 8/8", "mixed": "ours, mixed widths"}


def run(part: str) -> list[Row]:
    """Rows of the one run that has this part."""
    (found,) = [run[part] for run in load("cuda_h200")["runs"] if part in run]
    rows: list[Row] = found
    return rows


def times() -> str:
    """Whole networks on the H200."""
    ours, lines = run("ours"), []
    for way, label in WAYS.items():
        cells = [f"{one(ours, what=f'{model}-{way}', batch=batch)['median_ms']:.3f}" for model, batch in PLACES]
        lines.append(bold([label, *cells], way == "8"))
    shares = [ratio(gain(model, batch)) for model, batch in PLACES]
    lines.append(["8/8 over float16", *shares])
    exact = [row for row in run("exact") if not row["what"].endswith("-16")]
    names = {"deit_tiny": "DeiT-T", "deit_small": "DeiT-S"}
    short = {f"{model}_patch16_224": name for model, name in names.items()}
    peers = []
    for row in (row for row in run("peers") if isinstance(row["median_ms"], float)):
        model, _, way = row["what"].partition(" ")
        peers.append([f"{short[model]}, {way}", row["batch"], f"{row['median_ms']:.3f}"])
    return f"""## On a GPU

{load("cuda_h200")["device"]} (`python -m bench.cuda.check ours`, one run, medians of 75 graphs, in turns;
[more](cuda.md)). {sum(row["of"] for row in exact):,} logits of DeiT-T and DeiT-S were compared with the reference's,
{sum(row["differ"] for row in exact)} differ. Milliseconds:

{table(["", *(f"{names[model]}, batch {batch}" for model, batch in PLACES)], lines)}

torch on a GPU of the same kind, in another run, so a first look and no comparison (milliseconds):

{table(["", "batch", "ms"], peers)}"""


def gain(model: str, batch: int) -> float:
    """8/8 over float16."""
    eight, half = (one(run("ours"), what=f"{model}-{way}", batch=batch)["median_ms"] for way in ("8", "16"))
    return float(eight / half)


def paper() -> str:
    """Times on paper against the H200's clock."""
    rows = load("cuda_paper")["rows"]
    kinds: dict[str, list[float]] = {}
    for row in rows:
        kinds.setdefault(row["kernel"].partition("_")[0], []).append(row["paper_us"] / row["us"])
    kinds["all"] = [row["paper_us"] / row["us"] for row in rows]
    lines = [[kind, len(r), f"{median(r):.2f}", f"{min(r):.2f}", f"{max(r):.2f}"] for kind, r in kinds.items()]
    off = median(abs(share - 1) for share in kinds["all"])
    return f"""## Times on paper

`python -m bench.cuda.paper`: {len(rows)} kernels of DeiT-T and DeiT-S that the H200 timed, against the times by which
plans for a GPU that is not at hand are made. Half of them are off by less than {100 * off:.0f} %; whether that holds
for an Orin, nobody has measured. Rows are the first words of their names: products are named by what they give (`stream`,
`codes`, `residual`, `act`, `float`, `table`).

{table(["kernels", "count", "paper / measured: median", "least", "most"], lines)}"""


def candidates() -> str:
    """Sizes of tiles, each timed: a plain tile, which every list begins with, beside the fastest."""
    found: dict[str, list[Row]] = {}
    for line in (RESULTS / "cuda_candidates_h200.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        found.setdefault(row["what"], []).append(row)
    lines = []
    for kernel, rows in ((kernel, rows) for kernel, rows in found.items() if len(rows) > 1):
        best = min((row for row in rows if row["differ"] in (0, "not checked")), key=lambda row: float(row["median_ms"]))
        plain, least = (1000 * row["median_ms"] for row in (rows[0], best))
        lines.append([f"`{kernel}`", f"{plain:.2f}", f"{least:.2f}", f"`{best['tiles']}`", f"{plain / least:.2f}x", len(rows)])
    head = ["kernel of DeiT-S", "plain tile, us", "the fastest, us", "its sizes", "gain", "candidates"]
    return f"""Sizes of tiles on the H200, microseconds of a launch among others of its kind (`python -m bench.cuda.check
candidates`; `bench.cuda.records` makes the records in `schedules/sm_90` of them):

{table(head, lines)}"""
