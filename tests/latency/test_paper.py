"""Estimates of CUDA kernels on paper: each part by hand, and what an H200 measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lampq_tvm.compiler.cuda.build import compile_kernels
from lampq_tvm.errors import DeviceError
from lampq_tvm.kernels.cuda.following import Following
from lampq_tvm.kernels.cuda.levels import mma_for
from lampq_tvm.kernels.cuda.product import build_product, weight_words
from lampq_tvm.kernels.cuda.tiles import CudaTiles
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kinds import Kind, of_width
from lampq_tvm.latency.cuda import cuda_work
from lampq_tvm.latency.paper import CACHED, ISSUE, LAUNCH_MS, MEMORY, TENSOR, Counted, issued, on_paper, parts_ms
from lampq_tvm.lower.cuda.launch import Launch, Value
from lampq_tvm.resources import PACKAGE
from lampq_tvm.targets import find_board
from tests.compiler.networks import quantized

BOARD = find_board("jetson-agx-orin-64gb")


def test_the_parts_by_hand():
    """16 multiprocessors of 4 schedulers at 1.3 GHz, 85.2 Top/s, 152.8 GB/s read, 4 MiB; the busiest has 3 of 33 blocks."""
    weights = {"W": {"from": "words", "shape": [64, 64], "words": 16}}
    for read, stays in ((936_000, True), (9_936_000, False)):
        launch = Launch("k", None, {}, weights, ("out", Value("y", 1000, 64, "int8")), macs=33 * 10**6, read_bytes=read)
        issue, tensor, cached, memory = parts_ms(launch, Counted((3, 11, 1), 5200.0), BOARD)
        assert issue == pytest.approx(3 * 5200 / 4 / 1.3e6)
        assert tensor == pytest.approx(3 * 2e6 / (85.2e9 / 16))
        assert cached == (pytest.approx(1e6 / 152.8e6) if stays else 0)
        assert memory == pytest.approx((4096 + (0 if stays else 10**7)) / 152.8e6)
        wanted = LAUNCH_MS + ISSUE * issue + TENSOR * tensor + CACHED * cached + MEMORY * memory
        found = on_paper(launch, Counted((3, 11, 1), 5200.0), BOARD)
        assert (found.median_ms, found.kind) == (pytest.approx(wanted), "estimated")


def test_a_launch_without_the_boards_figure():
    product = next(x for k, x in cuda_work(quantized("one block", "8/8"), "sm_87", 1).launches.items() if "W" in x.params)
    figures = {name: BOARD.figures[name] for name in ("memory_bandwidth", "gpu_clock")}
    with pytest.raises(DeviceError, match="no gpu_int8"):
        on_paper(product, Counted((1, 1, 1), 1.0), BOARD.model_copy(update={"figures": figures}))


def instructions(shape: ProductShape, tiles: CudaTiles, widths=(8, 8), **fused) -> float:
    launch = Launch(
        "k",
        lambda name: build_product(shape, mma_for(*widths, "sm_87"), tiles=tiles, name=name, **fused),
        {},
        {},
        ("out", Value("x", 1, 1, "float32")),
    )
    return issued(compile_kernels([launch], "sm_87", 12)["k"])


def test_narrow_widths_are_faster_where_there_is_work():
    """fc1 of DeiT-S, eight images, on Orin: nibbles before bytes before float16."""
    shape, tiles, times = ProductShape(1576, 1536, 384, "codes"), CudaTiles(128, 128, warp_columns=4), []
    for widths, rate, bits in (((4, 4), "int4", 4), ((8, 8), "int8", 8), ((Kind.FLOAT16, Kind.FLOAT16), "fp16", 16)):
        words = weight_words(shape, mma_for(*widths, "sm_87"), tiles)
        weights = {"W": {"from": "words", "shape": [shape.n, shape.k], "words": words}}
        out, macs = Value("y", shape.rows, shape.n, f"int{bits}" if bits < 16 else "float16"), shape.rows * shape.n * shape.k
        launch = Launch("k", None, {}, weights, ("out", out), macs=macs, rate=rate, read_bytes=shape.rows * shape.k * bits // 8)
        count = instructions(shape, tiles, widths, out=of_width(bits))
        times.append(on_paper(launch, Counted((12, 13, 1), count), BOARD).median_ms)
    assert times[0] < 0.8 * times[1] < 0.8 * 0.8 * times[2]


def test_instructions_grow_with_the_steps_and_with_what_is_fused():
    tiles = CudaTiles(32, 64, 16, 2, 1, 2)
    few, many = (instructions(ProductShape(64, 128, k, "residual"), tiles) for k in (1024, 2048))
    assert 1.6 < many / few < 2  # all but the epilogue
    norm = instructions(ProductShape(64, 128, 1024, "residual"), tiles, following=Following(Kind.INT8, 1e-6))
    assert few + 500 < norm < few + 5000  # every second block makes it for both


def test_kernels_that_a_gpu_timed():
    """The factors in use are those of the shipped comparison, whose median error is below a sixth."""
    found = json.loads((PACKAGE.parent / "bench" / "results" / "cuda_paper.json").read_text())
    assert found["fitted"] == pytest.approx([1e3 * LAUNCH_MS, ISSUE, TENSOR, CACHED], rel=0.02)
    off = [abs(row["paper_us"] / row["us"] - 1) for row in found["rows"]]
    assert len(off) > 80 and np.median(off) < 1 / 6 and np.quantile(off, 0.9) < 1 / 3
