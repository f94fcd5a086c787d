"""How far estimates on paper lie from a GPU's clock: every kernel that an H200 timed, and the factors that fit them best.

    python -m bench.cuda.paper bench/results/cuda_h200.json --json bench/results/cuda_paper.json

Kernels are built again by their names, today's way; a block of each is counted on the PTX interpreter. No GPU is needed.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lampq_tvm.cli.output import print_table
from lampq_tvm.kernels.cuda.attention import build_attention, scores_made
from lampq_tvm.kernels.cuda.attention_half import build_half_attention
from lampq_tvm.kernels.cuda.attention_shape import CudaAttentionShape
from lampq_tvm.kernels.cuda.levels import attention_mma, half_mma, mma_for
from lampq_tvm.kernels.cuda.norm import build_norm
from lampq_tvm.kernels.cuda.product import build_product, weight_words
from lampq_tvm.kernels.cuda.tiles import tiles_of
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kinds import Kind, of_width
from lampq_tvm.latency.paper import CACHED, ISSUE, LAUNCH_MS, MEMORY, TENSOR, counted, on_paper, parts_ms
from lampq_tvm.lower.cuda.launch import Launch, Value
from lampq_tvm.progress import track
from lampq_tvm.store import write_atomic
from lampq_tvm.targets import resolve_target

TARGET = "h200@cuda12"
PRODUCT = re.compile(
    r"(codes|table|act|float|residual|stream)_m(\d+)_n(\d+)_k(\d+)(?:_p(\d+))?_(s8|w4a8|f16)_o(\d+)(?:_f(\d+))?(_e1em06)?(gelu)?_t(.*)"
)
ATTENTION = re.compile(r"attention(_f16)?_i(\d+)_t(\d+)_h(\d+)x(\d+)_o(\d+)_w(\d+)x(\d+)")
NORM = re.compile(r"norm_(int8|float16)_r(\d+)_c(\d+)_e1em06")
WIDTHS = {"s8": (8, 8), "w4a8": (4, 8), "f16": (Kind.FLOAT16, Kind.FLOAT16)}
TYPES = {"8": "int8", "16": "float16"}


def product(found: re.Match[str], arch: str) -> Launch:
    """The launch that a product's name says."""
    kind, m, n, k, period, name, bits, prefix, normed, act, tiles = found.groups()
    shape, mma = ProductShape(int(m), int(n), int(k), kind, int(period or 0)), mma_for(*WIDTHS[name], arch)
    build = functools.partial(build_product, shape, mma, out=of_width(int(bits)), prefix=int(prefix or 0), act=act or "")
    build = functools.partial(build, norm_eps=1e-6 if normed else None, tiles=tiles_of(tiles))
    dtype = "float32" if kind in ("float", "residual", "stream") else TYPES[bits]
    params = {"W": {"from": "words", "shape": [shape.n, shape.k], "words": weight_words(shape, mma, tiles_of(tiles))}}
    read = Value("A", shape.rows, shape.k, "float32" if normed else TYPES[str(mma.a_bits)]).bytes
    out, over = Value("out", shape.rows, shape.n, dtype), "A" if kind == "residual" else None
    macs, rate = shape.rows * shape.n * shape.k, "fp16" if name == "f16" else "int8"
    return Launch(found[0], lambda name: build(name=name), {}, params, ("out", out), over, (), macs, rate, read)


def attention(found: re.Match[str], arch: str) -> Launch:
    """The launch that an attention's name says."""
    half, *sizes = found.groups()
    images, tokens, heads, head_dim, bits, row_warps, key_warps = map(int, sizes)
    shape, mma = CudaAttentionShape(images, tokens, heads, head_dim, row_warps, key_warps), attention_mma(arch)
    passes = 1 + (1 if half else scores_made(shape, mma))
    read = Value("qkv", images * tokens, 3 * heads * head_dim, "float16" if half else "int8").bytes
    macs, rate = passes * images * heads * tokens * tokens * head_dim, "fp16" if half else "int8"
    out = Value("out", images * tokens, heads * head_dim, TYPES[str(bits)])

    def build(name: str) -> Any:
        if half:
            return build_half_attention(shape, half_mma(arch), out=of_width(bits), name=name)
        return build_attention(shape, mma, out=of_width(bits), name=name)

    return Launch(found[0], build, {}, {}, ("out", out), macs=macs, rate=rate, read_bytes=read)


def norm(found: re.Match[str], arch: str) -> Launch:
    """The launch that a LayerNorm's name says."""
    rows, channels, bits = int(found[2]), int(found[3]), 16 if found[1] == "float16" else 8
    out, read = Value("out", rows, channels, found[1]), Value("x", rows, channels, "float32").bytes
    build = functools.partial(build_norm, rows, channels, 1e-6, out=of_width(bits))
    return Launch(found[0], lambda name: build(name=name), {}, {}, ("out", out), read_bytes=read)


def launches(profile: dict[str, float], arch: str) -> Iterator[Launch]:
    """Launches of the kernels that are products, attention or LayerNorm."""
    for name in profile:
        for pattern, make in ((PRODUCT, product), (ATTENTION, attention), (NORM, norm)):
            found = pattern.fullmatch(name)
            if found:
                yield make(found, arch)


def compared(profile: dict[str, float]) -> list[dict[str, Any]]:
    """A row for each kernel: microseconds measured and on paper, and the parts."""
    target = resolve_target(TARGET)
    assert target.board is not None
    rows = []
    for launch in track(list(launches(profile, target.isa)), "kernels"):
        kernel = counted(launch, target)
        parts = [1e3 * part for part in parts_ms(launch, kernel, target.board)]
        paper = 1e3 * on_paper(launch, kernel, target.board).median_ms
        rows.append({"kernel": launch.kernel, "us": profile[launch.kernel], "paper_us": paper, "parts_us": parts})
    return rows


def fitted(rows: list[dict[str, Any]]) -> list[float]:
    """LAUNCH in microseconds, ISSUE, TENSOR, CACHED: least squares of relative errors, MEMORY being given."""
    us = np.array([row["us"] for row in rows])
    parts = np.array([[1, *row["parts_us"]] for row in rows]) / us[:, None]
    return [round(float(x), 3) for x in np.linalg.lstsq(parts[:, :4], 1 - MEMORY * parts[:, 4], rcond=None)[0]]


def table(rows: list[dict[str, Any]]) -> list[list[Any]]:
    """By kind of kernel: how many, paper over measured, and by how much it is off."""
    kinds: dict[str, list[float]] = {}
    for row in rows:
        kinds.setdefault(row["kernel"].split("_")[0], []).append(row["paper_us"] / row["us"])
    kinds["all"] = [row["paper_us"] / row["us"] for row in rows]
    off = {kind: statistics.median(abs(ratio - 1) for ratio in ratios) for kind, ratios in kinds.items()}
    return [[kind, len(r), statistics.median(r), min(r), max(r), off[kind]] for kind, r in kinds.items()]


def networks(run: dict[str, Any], rows: list[dict[str, Any]]) -> list[list[Any]]:
    """(network, batch, milliseconds measured, on paper, ratio) of whole graphs; kernels that no row has are launches alone."""
    paper = {row["kernel"]: row["paper_us"] for row in rows}
    found = []
    for ours in run["ours"]:
        key = (ours["what"], ours["batch"])
        launched = [row for row in run["profile"] if (row["what"], row["batch"]) == key]
        ms = sum(row["times"] * paper.get(row["kernel"], 1e3 * LAUNCH_MS) for row in launched) / 1e3
        found.append([*key, ours["median_ms"], ms, ms / ours["median_ms"]])
    return found


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs = json.loads(options.results.read_text())["runs"]
    profile = {row["kernel"]: row["us"] for run in runs for row in run.get("profile", [])}
    rows = compared(profile)
    print_table(("kernels", "count", "paper / measured, median", "least", "most", "median error"), table(rows))
    for run in runs:
        if "profile" in run:
            print_table(("network", "batch", "measured_ms", "paper_ms", "paper / measured"), networks(run, rows))
    found = fitted(rows)
    print(f"factors that fit best: launch {found[0]} us, issue, tensor, cached {found[1:]}")
    print(f"factors in use: launch {1e3 * LAUNCH_MS} us, {[ISSUE, TENSOR, CACHED]}, memory {MEMORY}")
    if options.json:
        write_atomic(options.json, (json.dumps({"device": "H200", "fitted": found, "rows": rows}, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
