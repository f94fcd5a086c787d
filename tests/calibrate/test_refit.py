"""Weights fitted once more under a plan: the formula by hand, what it wins, and that kills and threads change nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.calibrate.fake import quantized_layer
from lampq_tvm.calibrate.refit import Moments, low_rank, refit
from lampq_tvm.network.execute import normalize, run_float
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.recipes.schema import RefitOptions
from lampq_tvm.sensitivity.float_run import planned_run
from lampq_tvm.store import Units
from tests.compiler.networks import calibration, images, network


def run(tmp_path, family="vit", bits=(2, 8), count=24, **more):
    options = RefitOptions(**{"toward": "float", **more})
    plan = uniform_plan(network(family), *bits)
    batches = [(images(family, count), None)]
    units = Units(tmp_path / "units")
    return refit(calibration(family), plan, batches, options, units=units, folder=tmp_path / "images"), plan


def planned_layers(fitted, plan):
    """Every layer at its widths."""
    return {row.name: quantized_layer(fitted, row.name, row.w_bits, row.a_bits) for row in plan.layers}


def error(fitted, plan, family="vit"):
    """Of the output, over its spread, on images that nothing was fitted to."""
    x = normalize(images(family, 64, seed=7), network(family).input)
    exact = run_float(calibration(family).model, x)
    return float((planned_run(fitted, plan)(x) - exact).square().mean() / exact.var())


def test_moments_of_pieces_add_up():
    rng = np.random.default_rng(0)
    x, f = (torch.from_numpy(rng.normal(1, 2, (60, 5)).astype(np.float32)) for _ in range(2))
    whole = Moments.of(x[:20], f[:20]) + Moments.of(x[20:], f[20:])
    h, c = whole.centred
    cx, cf = (t.double() - t.double().mean(0) for t in (x, f))
    assert torch.allclose(h, cx.T @ cx / 60, atol=1e-5) and torch.allclose(c, cf.T @ cx / 60, atol=1e-5)


def test_moments_of_a_channel_far_from_zero():
    """A mean of 10,000 beside a spread of 1, as behind quantized layers of DINOv2: a difference of sums would be below zero."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(0, 1, (400, 6)).astype(np.float32)) + 10_000
    h, _ = (Moments.of(x[:150], x[:150]) + Moments.of(x[150:], x[150:])).centred
    cx = x.double() - x.double().mean(0)
    assert torch.allclose(h, cx.T @ cx / 400, atol=1e-3)


@pytest.mark.parametrize("family", ["vit", "swin padded", "eva02"])
def test_every_layer_gives_the_float_networks_mean(tmp_path, family):
    """On the images that it was fitted to, whatever layers lie between it and the start of its block."""
    fitted, plan = run(tmp_path, family, (3, 8))
    x = normalize(images(family, 24), network(family).input)
    means = []
    for model, replace in ((calibration(family).model, {}), (fitted.model, planned_layers(fitted, plan))):
        seen = {}
        run_float(
            model, x, replace=replace, observe=lambda op, _, y, seen=seen: seen.update({op.name: y.flatten(0, -2).mean(0)})
        )
        means.append(seen)
    for row in plan.layers:
        if not row.reads_image and row.w_bits == 3:
            wrong, exact = means[1][row.name] - means[0][row.name], means[0][row.name]
            assert wrong.norm() < 1e-4 * exact.norm(), row.name


@pytest.mark.parametrize("family", ["vit", "swin padded", "eva02", "siglip"])
@pytest.mark.parametrize("bits", [(2, 8), (3, 8)])
def test_every_family_gains(tmp_path, family, bits):
    fitted, plan = run(tmp_path, family, bits, count=96)
    before = error(calibration(family), plan, family)
    assert error(fitted, plan, family) < 0.9 * before


def test_the_image_and_wide_layers_stay(tmp_path):
    fitted, plan = run(tmp_path, bits=(4, 8), widest_bits=3)
    old = calibration("vit")
    assert fitted is old
    fitted, plan = run(tmp_path / "narrow", bits=(3, 8))
    assert fitted.model is old.model and not old.biases
    assert set(fitted.biases) == {row.name for row in plan.layers if not row.reads_image}


def test_biases_are_kept_and_are_those_of_the_integer_network(tmp_path):
    fitted, plan = run(tmp_path, bits=(3, 8))
    (tmp_path / "kept").mkdir()
    fitted.only(plan).save(tmp_path / "kept")
    again = Calibration.load(tmp_path / "kept")
    assert {name: list(by) for name, by in again.biases.items()} == {name: [3] for name in fitted.biases}
    assert all(np.array_equal(again.biases[name][3], by[3]) for name, by in fitted.biases.items())
    pixels = images("vit", 16, seed=7)
    played = planned_run(fitted, plan)(normalize(pixels, network("vit").input)).numpy()

    def wrong(found):
        return np.abs(run_reference(quantize(found, plan), pixels) - played).mean()

    assert 5 * wrong(again) < wrong(dataclasses.replace(again, biases={}))


def test_a_layer_alone_is_gptq(tmp_path):
    """Toward the layer, the first one's codes are compensated ones of its own weights under the inputs that it sees."""
    fitted, plan = run(tmp_path, bits=(3, 8), toward="layer")
    first = next(row.name for row in plan.layers if not row.reads_image)
    quantizer, codes = fitted.weights[first][3], fitted.codes[first][3]
    weight = fitted.model.tensors[f"{first}.weight"]
    assert np.abs(quantizer.values(codes) - weight).max() < 3 * np.abs(quantizer.scale).max()
    plain = np.abs(quantizer.values(quantizer.encode(weight)) - weight).mean()
    assert np.abs(quantizer.values(codes) - weight).mean() >= plain  # nearest is nearest, compensated is not


def test_jobs_and_a_kill_change_nothing(tmp_path):
    one, plan = run(tmp_path / "a")
    options, batches = RefitOptions(), [(images("vit", 24), None)]
    killed = Units(tmp_path / "b")
    with pytest.raises(KeyboardInterrupt):
        refit(calibration("vit"), plan, batches, options, units=_Dying(killed, 3), folder=tmp_path / "c")
    two = refit(calibration("vit"), plan, batches, options, units=killed, folder=tmp_path / "d", jobs=1)
    for row in plan.layers:
        if not row.reads_image:
            assert np.array_equal(one.biases[row.name][2], two.biases[row.name][2])
            assert np.array_equal(one.codes[row.name][2], two.codes[row.name][2])


class _Dying:
    """Units of a process that is interrupted after some of them."""

    def __init__(self, units, left):
        self.units, self.left = units, left

    def get(self, name, compute):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return self.units.get(name, compute)


def test_a_correction_of_low_rank():
    """It has its rank, is the best of its rank by the moments, and of full rank is the whole change."""
    torch.manual_seed(0)
    change, rows = torch.randn(12, 9).double(), torch.randn(50, 9).double() @ torch.randn(9, 9).double()
    moments = rows.T @ rows / 50

    def lost(found):
        return float((((change - found) @ moments) * (change - found)).sum())

    assert torch.allclose(low_rank(change, moments, 9), change, atol=1e-8)
    for rank in (1, 3):
        found = low_rank(change, moments, rank)
        assert torch.linalg.matrix_rank(found, rtol=1e-8) == rank
        left, size, right = torch.linalg.svd(change, full_matrices=False)
        plain = (left[:, :rank] * size[:rank]) @ right[:rank]
        assert lost(found) <= lost(plain) and lost(found) < lost(torch.zeros_like(change))


def test_a_low_rank_wins_part_of_what_the_whole_correction_does(tmp_path):
    errors = []
    for rank in (2, None):
        fitted, plan = run(tmp_path / str(rank), bits=(3, 8), count=96, rank=rank, compensated=False)
        errors.append(error(fitted, plan))
    before = error(calibration("vit"), plan)
    assert errors[1] < errors[0] < before
