"""Float16 as a candidate: under a budget of time no layer takes codes that are slower than float16."""

from __future__ import annotations

import numpy as np
import pytest

from lampq_tvm.allocate.budget import parse_budget
from lampq_tvm.allocate.costs import layer_ms
from lampq_tvm.allocate.solve import allocate
from lampq_tvm.errors import InfeasibleError
from lampq_tvm.latency.table import LatencyTable, LayerLatency, Timing
from lampq_tvm.sensitivity.table import Sensitivity
from tests.allocate.conftest import WIDTHS
from tests.quantize.tiny import tiny_model


def table(model, half: float, times: dict[int, float]) -> LatencyTable:
    """Times of every layer in tied widths: `times` by width and `half` for float16, times a factor of its own."""

    def timing(ms: float) -> Timing:
        return Timing(median_ms=ms, p95_ms=ms, n=9, kind="measured")

    rows = []
    for i, layer in enumerate(model.layers):
        image = layer.type == "patch_embed"
        pairs = {f"{b}/{8 if image else b}": timing(ms * (1 + i % 3)) for b, ms in {**times, 16: half}.items()}
        rows.append(LayerLatency(name=layer.name, pairs=pairs))
    return LatencyTable(target="t", device="d", threads=1, layers=tuple(rows))


def losses(model, seed: int, sign: float = 1.0) -> Sensitivity:
    """Random losses that fall with the width."""
    rng, names = np.random.default_rng(seed), tuple(layer.name for layer in model.layers)
    by_width = 4.0 ** -np.array(WIDTHS, float)
    loss = sign * rng.uniform(0.1, 9, (len(names), 1, 1)) * (by_width[:, None] + by_width[None, :])
    return Sensitivity("fisher_output", True, names, WIDTHS, loss)


MODEL = tiny_model()


def solved(latency, *budgets, half=True, seed=0, sign=1.0):
    parsed = [parse_budget(b) for b in budgets]
    return allocate(MODEL, losses(MODEL, seed, sign), parsed, latency=latency, tied=True, half=half)


def slower_than_half(plan, latency) -> list[str]:
    """Layers in codes that take longer than in float16."""
    half = {row.name: latency.ms(row.name, 16, 8 if row.type == "patch_embed" else 16) for row in plan.layers}
    coded = [row for row in plan.layers if not row.is_float]
    return [row.name for row in coded if latency.ms(row.name, row.w_bits, row.a_bits) > half[row.name]]


@pytest.mark.parametrize("sign", [1.0, -1.0, 0.0])
@pytest.mark.parametrize("seed", range(6))
def test_no_codes_slower_than_float16(seed, sign):
    """Whatever the losses, some widths being slower than float16 and others faster."""
    times = dict(zip(WIDTHS, np.random.default_rng(seed).uniform(0.2, 1.8, len(WIDTHS)), strict=True))
    latency = table(MODEL, 1.0, times)
    whole = sum(float(layer_ms(latency, layer, [(16, 8 if layer.type == "patch_embed" else 16)])[0]) for layer in MODEL.layers)
    for share in (1.0, 0.9, 0.6):
        if share >= min(1.0, *times.values()):
            plan = solved(latency, f"{whole * share:.6f}ms", seed=seed, sign=sign)
            assert not slower_than_half(plan, latency)
            assert plan.notes["ms"] <= whole * share * (1 + 1e-6)


def test_float16_is_taken_where_it_is_fastest_and_where_time_allows():
    slow = table(MODEL, 0.5, dict.fromkeys(WIDTHS, 1.0))
    assert {row.w_bits for row in solved(slow, "1000ms").layers} == {16}
    assert {row.w_bits for row in solved(slow, f"{slow_total(slow):.6f}ms").layers} == {16}
    quick = table(MODEL, 1.0, {b: b / 16 for b in WIDTHS})
    assert {row.w_bits for row in solved(quick, f"{slow_total(quick) / 2:.6f}ms").layers} <= {2, 3, 4, 5, 6, 7, 8, 16}
    assert {row.w_bits for row in solved(quick, f"{slow_total(quick) / 8 + 1e-6:.6f}ms").layers} == {2}


def slow_total(latency) -> float:
    return sum(latency.ms(x.name, 16, 8 if x.type == "patch_embed" else 16) for x in MODEL.layers)


def test_only_budgets_of_time_on_gpus_bring_float16():
    latency = table(MODEL, 0.5, dict.fromkeys(WIDTHS, 1.0))
    assert {row.w_bits for row in solved(latency, "8bit").layers} == {8}
    assert {row.w_bits for row in solved(latency, "1000ms", half=False).layers} == {8}


def test_bits_and_time_together_do_not_bring_slower_codes():
    latency = table(MODEL, 0.5, dict.fromkeys(WIDTHS, 1.0))
    with pytest.raises(InfeasibleError, match="16bit instead of 8bit"):
        solved(latency, "1000ms", "8bit")


def test_layers_that_a_person_leaves_float_count_16_bits():
    names = [layer.name for layer in MODEL.layers if layer.type == "fc2"]
    plan = allocate(MODEL, losses(MODEL, 0), [parse_budget("8bit")], tied=True, floats=names)
    assert [row.name for row in plan.layers if row.is_float] == names
    assert plan.avg_w_bits <= 8 and min(row.w_bits for row in plan.layers) < 8
