"""Latency tables for GPUs: on paper from the board's figures, and through the timing of kernels on the interpreter."""

from __future__ import annotations

import pytest

from lampq_tvm.latency import cuda
from lampq_tvm.latency.cuda import cuda_table
from lampq_tvm.latency.paper import LAUNCH_MS
from lampq_tvm.ptx.driver import PtxDriver
from lampq_tvm.quantize.model import QAttention, QAttentionPool, QRegroup, QUnitHeads
from lampq_tvm.store import Units
from lampq_tvm.targets import resolve_target
from tests.compiler.networks import calibration, quantized


def test_a_table_on_paper(tmp_path):
    """Every figure is an estimate and more than a launch; pairs share kernels where they run the same ones, and only there."""
    table = cuda_table(calibration("vit"), resolve_target("jetson-agx-orin-64gb"), units=Units(tmp_path))
    assert table.kind == "estimated" and table.device == "on paper"
    for row in table.layers:
        pairs = {pair: timing.median_ms for pair, timing in row.pairs.items()}
        half = "16/8" if row.name.startswith("patch") else "16/16"
        assert all(ms > LAUNCH_MS for ms in pairs.values()) and pairs["4/8"] == pairs["3/8"]
        assert len({pairs["4/8"], pairs["8/8"], pairs[half]}) == 3
        assert row.name.startswith("patch") or (pairs["3/2"] == pairs["4/4"] and pairs["4/4"] != pairs["4/8"])
    assert table.fixed_ms > 0
    half = sum(row.pairs["16/8" if row.name.startswith("patch") else "16/16"].median_ms for row in table.layers)
    assert table.float_ms.kind == "estimated" and half + 2 * LAUNCH_MS < table.float_ms.median_ms  # attention and the rest


@pytest.mark.parametrize("family", ["swin", "swin padded", "beit", "swinv2", "eva02", "siglip"])
def test_a_table_of_every_kind_of_operator(family, tmp_path, monkeypatch):
    """What no plan changes is there by its value's name, and what moves more bytes takes longer."""
    monkeypatch.setattr(cuda, "WIDTHS", (8,))
    table = cuda_table(calibration(family), resolve_target("jetson-agx-orin-64gb"), units=Units(tmp_path))
    assert all(pair in row.pairs for row in table.layers for pair in (["8/8", "16/16"] if "patch" not in row.name else ["8/8"]))
    own = {op.name for op in quantized(family, "8/8").ops if isinstance(op, QUnitHeads | QAttentionPool | QAttention)}
    own |= {op.name for op in quantized(family, "8/8").ops if isinstance(op, QRegroup)} if family == "swin padded" else set()
    assert {name for name in own if not name.endswith("attn.regrouped")} <= set(table.fixed)  # products read these in order


@pytest.mark.parametrize("family", ["one block", "swin"])
def test_attention_of_16_bits_is_what_the_table_holds(family, tmp_path, monkeypatch):
    """Attention on codes may not even fit then."""
    works, inner = [], cuda.cuda_work
    monkeypatch.setattr(cuda, "WIDTHS", (8,))
    monkeypatch.setattr(cuda, "cuda_work", lambda *args: works.append(inner(*args)) or works[-1])
    cuda_table(calibration(family), resolve_target("jetson-agx-orin-64gb"), units=Units(tmp_path), attention_bits=16)
    attentions = [kernel for kernel in works[0].launches if kernel.startswith("attention")]
    assert attentions and all(kernel.startswith("attention_f16") for kernel in attentions)


@pytest.mark.parametrize(
    ("family", "widths"), [("one block", (4, 8)), ("swin", (8,)), ("eva02 sub-LN", (8,)), ("siglip", (8,))]
)
def test_kernels_are_timed_through_the_driver(family, widths, tmp_path, monkeypatch):
    """The interpreter's clock means nothing, but every kernel runs and gets a time, once; indices lead nowhere else."""
    monkeypatch.setattr(cuda, "WIDTHS", widths)
    monkeypatch.setattr(cuda, "REPEATS", 1)
    monkeypatch.setattr(cuda, "SAMPLES", 1)
    target, ptx = resolve_target("jetson-agx-orin-64gb"), {}
    compiled = cuda.compile_kernels

    def remembered(*args):
        kernels = compiled(*args)
        ptx.update({kernel.cubin: kernel.ptx for kernel in kernels.values()})
        gpu._ptx.update(ptx)
        return kernels

    monkeypatch.setattr(cuda, "compile_kernels", remembered)
    gpu = PtxDriver({}, target.isa)
    table = cuda_table(calibration(family), target, units=Units(tmp_path), gpu=gpu)
    assert all(timing.median_ms > 0 and timing.n == 1 for row in table.layers for timing in row.pairs.values())
    assert table.float_ms.kind == "measured" and table.float_ms.n == 1
    again = cuda_table(calibration(family), target, units=Units(tmp_path), gpu=PtxDriver({}, target.isa))
    assert again == table
