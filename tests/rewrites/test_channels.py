"""Rewrites of channels change no function; each does to ranges what it is for."""

from __future__ import annotations

import numpy as np
import pytest

from lampq_tvm.calibrate.observe import observe
from lampq_tvm.network.execute import normalize, run_float
from lampq_tvm.rewrites.channels import Input, linear_readers
from lampq_tvm.rewrites.noisy import noise
from lampq_tvm.rewrites.repq import channel_map, power_map, reparameterize
from lampq_tvm.rewrites.repq_chosen import best_map, rounded_rows, rounded_weights
from lampq_tvm.rewrites.rewrite import REWRITES
from lampq_tvm.rewrites.smooth import smoothing
from lampq_tvm.store import Units
from tests.quantize.tiny import VARIANTS, tiny_images, tiny_model


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["repq", "repq_chosen", "mosf", "powers", "smooth", "noisy"])
def test_same_function_same_statistics(name, variant, tmp_path):
    model, images = tiny_model(variant), tiny_images(20)
    before = observe(model, [(images, None)], Units(tmp_path / "a"))
    changed, seen = REWRITES.find(name)(model, before)
    x = normalize(images, model.input)
    assert np.allclose(run_float(model, x), run_float(changed, x), atol=1e-4)
    assert any(not np.array_equal(changed.tensors[k], v) for k, v in model.tensors.items())
    after = observe(changed, [(images, None)], Units(tmp_path / "b"))
    for name in after.rows:
        assert np.allclose(after.rows[name], seen.rows[name], atol=1e-3), name
    for name in after.low:
        assert np.allclose(after.low[name], seen.low[name], atol=1e-3), name
        assert np.allclose(after.high[name], seen.high[name], atol=1e-3), name


def test_ranges_are_equal(tmp_path):
    images = tiny_images(20)
    _, seen = reparameterize(tiny_model(), observe(tiny_model(), [(images, None)], Units(tmp_path)))
    for name in ("blocks.0.qkv", "blocks.1.fc1", "blocks.1.proj", "head"):
        width = seen.high[name] - seen.low[name]
        assert width.max() / width.min() < 1.001, name
        assert np.allclose(seen.high[name], -seen.low[name], atol=1e-4)


def test_who_reads_a_norm():
    assert linear_readers(tiny_model("two_heads"), "norm") == ["head", "head_dist"]
    assert linear_readers(tiny_model("norm_then_mean"), "norm") == ["head"]
    assert linear_readers(tiny_model("headless"), "norm") == []
    assert linear_readers(tiny_model(), "blocks.0.add1") == []


def test_a_still_channel_is_not_blown_up(tmp_path):
    model = tiny_model()
    model.tensors["blocks.0.norm1.gamma"][3] = 0
    images = tiny_images(8)
    changed, seen = reparameterize(model, observe(model, [(images, None)], Units(tmp_path)))
    x = normalize(images, model.input)
    assert np.allclose(run_float(model, x), run_float(changed, x), atol=1e-4)
    assert np.abs(changed.tensors["blocks.0.norm1.beta"]).max() < 1e3 and np.isfinite(seen.rows["blocks.0.qkv"]).all()


def one_input():
    """Three channels, the last ten times as wide."""
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(400, 3)) * [1, 1.2, 10] + [0, 2, -5]).astype(np.float32)
    return Input(rows.min(0).astype(float), rows.max(0).astype(float), rows, rng.normal(size=(8, 3)))


def test_the_median_leaves_a_wide_channel_out():
    x = one_input()
    widths = x.high - x.low
    assert np.isclose((widths / channel_map(x, float(np.median(widths)))[1]).mean(), np.median(widths))
    assert np.median(widths) < 0.5 * widths.mean()


def test_smoothing_shares_the_range_with_the_weights():
    x = one_input()
    mean, s = smoothing(x)
    assert np.allclose(mean, x.rows.mean(0), atol=1e-5)
    reach = np.maximum(x.high - mean, mean - x.low) / s
    assert np.allclose(reach / (np.abs(x.weights).max(0) * s), (reach / (np.abs(x.weights).max(0) * s))[0])  # balanced


def test_noise_is_gaussian_and_never_worse():
    x = one_input()
    found, ones = noise(x)
    drawn = 2 * np.random.default_rng(0).standard_normal(3) - 1
    assert np.allclose(found / drawn, (found / drawn)[0]) and (ones == 1).all()


def test_powers_of_two():
    """Channels come within a factor of sqrt(2) of the mean reach, by powers of two, and zero stays zero."""
    x = Input(np.array([-1.0, -0.5, 0.0, -64]), np.array([0.5, 3.0, 0.1, 2.0]), np.zeros((1, 4), np.float32), np.ones((1, 4)))
    centre, r = power_map(x)
    reach = np.array([1.0, 3.0, 0.1, 64.0])
    assert np.array_equal(np.log2(r), np.rint(np.log2(r))) and not centre.any()
    scaled = reach / r / reach.mean()
    assert (scaled[[0, 1, 3]] <= 2**0.5 + 1e-9).all() and (scaled[[0, 1, 3]] >= 2**-0.5 - 1e-9).all()


def test_channels_are_equalized_where_inputs_round_badly():
    """A channel of ten times the range, read like the others: it is narrowed, and its readers' outputs are nearer than without
    it, and about as near as with all of it, whatever range search there is."""
    x = one_input()
    centre, r = best_map(x)
    none, full = (np.zeros(3), np.ones(3)), channel_map(x, float((x.high - x.low).mean()))

    def lost(change):
        """At the widths of the choice, by plain minimum and maximum."""
        rows, weights, total = (x.rows - change[0]) / change[1], x.weights * change[1], 1.0
        for bits in (4, 8):
            step, scale = np.ptp(rows) / (2**bits - 1), np.abs(weights).max(1, keepdims=True) / 7.5
            narrow = np.rint((rows - rows.min()) / step) * step + rows.min()
            total *= (narrow @ (np.rint(weights / scale).clip(-8, 7) * scale).T - rows @ weights.T).var(0).sum()
        return total

    assert r[2] > 1.5 * r[0] and lost((centre, r)) < 0.9 * lost(none) and lost((centre, r)) < 1.1 * lost(full)


def test_channels_stay_where_weights_would_round_badly():
    """The wide channel of 32 has the widest weights: its factor would leave the others few codes."""
    rng, factors = np.random.default_rng(0), np.where(np.arange(32) == 31, 20, 1)
    rows = (rng.uniform(-1, 1, (400, 32)) * factors).astype(np.float32)
    x = Input(rows.min(0).astype(float), rows.max(0).astype(float), rows, rng.uniform(-1, 1, (8, 32)) * factors)
    centre, r = best_map(x)
    assert (r == 1).all() and (centre == 0).all()


def test_roundings_of_the_choice():
    weights = np.array([[7.5, -7, 3, 0], [15, 14, 6, 0]], np.float32)  # scales 1 and 2
    assert np.array_equal(rounded_weights(weights, np.ones(4, np.float32), 4), [[7, -7, 3, 0], [14, 14, 6, 0]])
    rows = np.arange(16, dtype=np.float32)[:, None] - 4
    assert np.array_equal(rounded_rows(rows, (-4.0, 11.0), np.ones(1, np.float32), 4), rows)
    one = np.ones(1, np.float32)
    assert np.array_equal(rounded_rows(rows, (-4.0, 251.0), one, 8), rows)
    assert not np.array_equal(rounded_rows(rows, (-4.0, 1000.0), one, 8), rows)  # the whole range, whatever rows use of it
    assert np.isfinite(rounded_weights(np.zeros((2, 3), np.float32), np.ones(3, np.float32), 2)).all()
