"""The README's blocks: what `make demo` prints, and the headline figures with their conditions."""

from __future__ import annotations

import contextlib
import io

from bench.report import accuracy, cuda, speed
from bench.report.tables import figure, kilobytes, load, one, percent, ratio, table
from lampq_tvm.cli.output import print_table

PLANS = {"uniform8": "8/8", "uniform4": "4/4", "lampq4": "LampQ at 4 bits"}


def demo() -> str:
    """What `make demo` prints, as a block of code."""
    rows = load("demo")["rows"]
    with contextlib.redirect_stdout(io.StringIO()) as text:
        print_table(list(rows[0]), [list(row.values()) for row in rows])
    return "\n".join("    " + line for line in text.getvalue().splitlines())


def headline() -> str:
    """The figures that a newcomer asks for first."""
    return table(["what", "figure", "conditions"], [*promises(), *speeds()])


def promises() -> list[list[str]]:
    """Rows of equal bits, accuracy and size."""
    plans, exact = load("fashion_mnist"), load("equal_bits")["rows"]
    rows, images = plans["rows"], f"{plans['images']:,} Fashion-MNIST test images, {plans['calib_images']} for calibration"
    tops = {label: one(rows, name=n, attention=8) for n, label in PLANS.items()}
    found = [f"float {percent(one(rows, name='float')['top1'])} %", *(f"{k} {percent(v['top1'])}" for k, v in tops.items())]
    differ, most = sum(row["differ"] for row in exact), max(row["values"] for row in exact)
    payload, plain = (kilobytes(row["payload_bytes"]) for row in (tops[PLANS["lampq4"]], one(rows, name="float")))
    least = f"at most {accuracy.largest_ratio(rows):.3f} times the bytes that cannot be avoided"
    places = "every operator's values and the logits; three plans; this machine and three emulated Arm boards"
    return [
        ["equal bits", f"{differ} of up to {most:,} values differ in each of {len(exact)} cases", places],
        ["accuracy", ", ".join(found), f"the demo's model, {images}"],
        ["size", f"{payload} at 4 bits, {plain} in float", least],
    ]


def speeds() -> list[list[str]]:
    """Rows of times and counts: DeiT-S at 8/8, batch 1."""
    small, boards = speed.MODELS[1], load("arm_peers")["rows"]
    ours, theirs = (
        figure(one(load("host_peers")["rows"], model=small, threads=1, runner=runner)["value"])
        for runner in ("lampq 8/8", "openvino int8")
    )
    counts = []
    for board, title in speed.BOARDS.items():
        peer = min(speed.best(boards, small, board, runner) for runner in speed.PEERS)
        count = speed.best(boards, small, board, "lampq 8/8")
        counts.append(f"{title.partition(' (')[0]} {figure(count)} (best peer {figure(peer)})")
    gpu = one(cuda.run("ours"), what="deit_small-8", batch=1)["median_ms"]
    times = [row["seconds"] for row in load("compile_times")["rows"]]
    cores = "million instructions of one emulated core: **no times**"
    return [
        ["DeiT-S, x86-64", f"{ours} ms; OpenVINO int8 {theirs} ms", "8/8, batch 1, one AVX-512 thread, measured in turns"],
        ["DeiT-S, Arm", ", ".join(counts), f"8/8, batch 1; {cores}"],
        ["DeiT-S, H200", f"{gpu:.2f} ms, {ratio(cuda.gain('deit_small', 1))} of our float16", "8/8, batch 1; no Jetson yet"],
        ["compile DeiT-T", f"{figure(times[0])} s from nothing, {figure(min(times))} s kept", "32 + 64 images, two cores"],
    ]
