"""Few or poor calibration images: ranges have margins that vanish, and what cannot be right is told."""

from __future__ import annotations

import numpy as np
import pytest

from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.calibrate.doubts import saturation, worst_saturation
from lampq_tvm.calibrate.fit import calibrate
from lampq_tvm.calibrate.margins import margin, normal_range, student, widen
from lampq_tvm.calibrate.novelty import poor_images
from lampq_tvm.calibrate.observe import observe
from lampq_tvm.network.execute import normalize, run_float
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.store import Units
from tests.quantize.tiny import tiny_images, tiny_model

ENDINGS = ("token", "norm_then_mean", "mean_then_norm", "pool", "rotary", "cosine")
HELD_BACK = tiny_images(400)[250:]


def calibrated(model, images, folder):
    return calibrate(model, [(images, None)], units=Units(folder), widths=(8,))


def error(model, images, folder):
    """Error of the logits at 8 bits on images that calibration did not see, in shares of their spread."""
    found = calibrated(model, images, folder)
    logits = run_reference(quantize(found, uniform_plan(found.model, 8, 8, 8, "uniform")), HELD_BACK)
    wanted = run_float(model, normalize(HELD_BACK, model.input)).numpy()
    return float(np.linalg.norm(logits - wanted) / np.linalg.norm(wanted - wanted.mean(1, keepdims=True)))


@pytest.mark.parametrize("ending", ENDINGS)
def test_eight_images_are_nearly_as_good_as_128(ending, tmp_path):
    model, images = tiny_model(ending), tiny_images(400)
    few, many = (error(model, images[:n], tmp_path / str(n)) for n in (8, 128))
    assert few <= 1.5 * many, (few, many)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("poor", ["one", "the same", "black"])
def test_poor_images_are_no_disaster(ending, poor, tmp_path):
    images = {"one": tiny_images(1), "the same": tiny_images(1).repeat(20, 0), "black": tiny_images(20) * 0}[poor]
    assert error(tiny_model(ending), images, tmp_path) < 0.35


def test_many_images_get_no_margin(tmp_path):
    seen = observe(tiny_model(), [(tiny_images(128), None)], Units(tmp_path / "a"))
    assert widen(tiny_model(), seen) is seen
    fewer = observe(tiny_model(), [(tiny_images(64), None)], Units(tmp_path / "b"))
    wide = widen(tiny_model(), fewer)
    for name, low in wide.low.items():
        assert (low <= fewer.low[name]).all() and (wide.high[name] >= fewer.high[name]).all(), name


def test_a_margin_covers_and_vanishes():
    rng = np.random.default_rng(0)
    sigma = rng.uniform(0.5, 2, 200)
    values = rng.normal(0, sigma, (128, 200))
    widths = []
    for n in (2, 4, 8, 16, 64, 127, 128):
        low, high = margin(values[:n].min(0), values[:n].max(0), n, 128, np.ones(200))
        inside = (values >= low) & (values <= high)
        assert inside.mean() > 0.98, n
        widths.append(float((high - low).mean() / (values.max(0) - values.min(0)).mean()))
    assert max(widths) < 1.8 and abs(widths[-1] - 1) < 0.03


def test_expected_ranges_and_quantiles():
    published = {2: 1.128, 5: 2.326, 10: 3.078, 25: 3.931}  # d2 of control charts
    assert all(normal_range(n) == pytest.approx(d2, rel=0.05) for n, d2 in published.items())
    assert student(1.96, 10) == pytest.approx(2.228, rel=0.01) and student(2.576, 8) == pytest.approx(3.355, rel=0.02)


def test_poor_images_are_told(tmp_path):
    images = tiny_images(128)
    assert poor_images(images) == [] and saturation(calibrated(tiny_model(), images, tmp_path), HELD_BACK[:8]) is None
    assert "1 different image among 20" in poor_images(images[:1].repeat(20, 0))[0]
    assert "8 different images" in poor_images(images[:8])[0]
    assert "0..0" in poor_images(images[:40] * 0)[1]


def test_saturation_is_told_by_layer(tmp_path):
    narrow = (tiny_images(128) // 32 + 112).astype(np.uint8)
    found = calibrated(tiny_model(), narrow, tmp_path)
    name, share = worst_saturation(found, HELD_BACK[:8])
    assert share > 0.05 and name in found.activations
    line = str(saturation(found, HELD_BACK[:8]))
    assert name in line and "--calib-images" in line
