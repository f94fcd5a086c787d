"""Calibration as a whole: complete, resumable to the same bytes, and saved without loss."""

from __future__ import annotations

import numpy as np
import pytest

from lampq_tvm.calibrate import fit
from lampq_tvm.calibrate.calibration import WIDTHS, Calibration
from lampq_tvm.errors import UnsupportedError
from lampq_tvm.quantizers.protocol import QUANTIZERS, quantizer
from lampq_tvm.quantizers.symmetric import SymmetricWeights
from lampq_tvm.store import Units, digest, load_stage
from tests.quantize.tiny import tiny_calibration, tiny_images, tiny_model
from tests.recipes.files import recipe


def run(folder):
    return fit.calibrate(tiny_model(depth=1), [(tiny_images(8), None)], units=Units(folder), widths=(3, 8))


def test_every_layer_at_every_width():
    calibration = tiny_calibration("two_heads")
    layers = {layer.name for layer in calibration.model.layers}
    assert set(calibration.weights) == set(calibration.samples) == layers
    assert set(calibration.activations) == layers - {"patch"}
    assert all(tuple(v) == WIDTHS for v in (*calibration.weights.values(), *calibration.activations.values()))
    assert calibration.attention["blocks.0.attn"][4].scale.shape == (3, 4)
    assert calibration.preactivations["blocks.1.act"].bits == 8


def test_a_kill_changes_nothing(tmp_path, monkeypatch):
    whole = run(tmp_path / "a")
    real, count = fit._fit_layer, iter(range(100))

    def killed(*args):
        if next(count) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(fit, "_fit_layer", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b")
    again = run(tmp_path / "b")
    whole.save(tmp_path / "x")
    again.save(tmp_path / "y")
    for file, kind in (("calibration.st", "calibration"), ("model.st", "imported")):
        (meta, arrays), (meta_again, arrays_again) = (load_stage(tmp_path / f / file, kind) for f in "xy")
        assert digest(meta) == digest(meta_again) and arrays.keys() == arrays_again.keys()
        assert all(digest(arrays[k]) == digest(arrays_again[k]) for k in arrays)


@pytest.fixture
def odd_symmetric():
    """A quantizer of weights that no search knows, for one test."""
    quantizer("odd_symmetric", "weights")(type("Odd", (SymmetricWeights,), {}))
    yield "odd_symmetric"
    QUANTIZERS.forget("odd_symmetric")


def test_weights_that_nothing_searches_are_refused_in_a_line(tmp_path, odd_symmetric):
    method = recipe(
        tmp_path / "r.toml", quantizers=[{"weights": odd_symmetric, "activations": "uniform", "probabilities": "uniform"}]
    )
    with pytest.raises(UnsupportedError, match="unknown search for weights 'odd_symmetric'; did you mean symmetric"):
        fit.calibrate(tiny_model(depth=1), [(tiny_images(8), None)], units=Units(tmp_path), widths=(8,), recipe=method)


def test_save_and_load(tmp_path):
    calibration = tiny_calibration()
    calibration.save(tmp_path)
    again = Calibration.load(tmp_path)
    assert again.preactivations == calibration.preactivations
    for name, by_bits in calibration.activations.items():
        for bits, found in by_bits.items():
            kept, codes = again.activations[name][bits], found.encode(np.linspace(-3, 3, 99))
            assert type(kept) is type(found) and np.array_equal(kept.values(codes), found.values(codes))
    assert again.model.ops == calibration.model.ops
    for name, by_bits in calibration.weights.items():
        assert all(np.array_equal(again.weights[name][b].scale, v.scale) for b, v in by_bits.items())
    for name, rows in calibration.samples.items():
        assert np.array_equal(again.samples[name], rows)


def test_the_same_bytes_whatever_the_number_of_jobs(tmp_path):
    images = tiny_images(24)
    for jobs in (1, 2, 5):
        batches = [(images[i : i + 8], None) for i in range(0, 24, 8)]
        found = fit.calibrate(tiny_model(), batches, units=Units(tmp_path / f"u{jobs}"), widths=(3, 4, 8), count=24, jobs=jobs)
        found.save(tmp_path / str(jobs))
    for file in ("calibration.st", "model.st"):
        assert len({(tmp_path / str(jobs) / file).read_bytes() for jobs in (1, 2, 5)}) == 1
