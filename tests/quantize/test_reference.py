"""The torch reference and the oracle give the same bits for every operator, at any batch."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.network.execute import normalize, run_float
from lampq_tvm.oracle.run import run_oracle
from lampq_tvm.quantize import exact, reference
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.operators import OPERATORS
from lampq_tvm.quantize.reference import run_reference
from tests.examples import quick_examples
from tests.oracle.test_fma import floats, near_one, powers, round_to_float32
from tests.quantize.tiny import VARIANTS, tiny_calibration, tiny_images
from tests.quantizers.tabled import with_quantizer

WIDTHS = [(8, 8, 8, "uniform"), (4, 4, 8, "uniform"), (3, 5, 4, "log_sqrt2"), (2, 2, 2, "uniform")]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("w", "a", "attention", "softmax"), WIDTHS)
def test_oracle_equals_reference(variant, w, a, attention, softmax):
    calibration = tiny_calibration(variant)
    qm = quantize(calibration, uniform_plan(calibration.model, w, a, attention, softmax))
    pixels = tiny_images(6, seed=9)
    ours, torchs = run_oracle(qm, pixels), run_reference(qm, pixels, values=True)
    assert set(torchs) == {op.name for op in qm.ops}
    for name, found in torchs.items():
        assert found.dtype == ours[name].dtype and np.array_equal(found, ours[name]), name


BESIDE_PARTS = {"QFloatPart", "QNormalized", "QMatMul"}  # of networks with float parts: tests/parts


def test_variants_cover_every_operator():
    made, wide = set(), with_quantizer(tiny_calibration(), "powers")
    for calibration in (*map(tiny_calibration, VARIANTS), wide):
        made |= {type(op).__name__ for op in quantize(calibration, uniform_plan(calibration.model, 4, 4)).ops}
    assert made == set(OPERATORS) - BESIDE_PARTS


def test_batch_does_not_matter(monkeypatch):
    calibration = tiny_calibration()
    qm, pixels = quantize(calibration, uniform_plan(calibration.model, 4, 4)), tiny_images(7, seed=3)
    whole = run_reference(qm, pixels)
    monkeypatch.setattr(reference, "CHUNK", 3)
    assert np.array_equal(run_reference(qm, pixels), whole)
    assert np.array_equal(np.concatenate([run_reference(qm, image[None]) for image in pixels]), whole)


@pytest.mark.parametrize("variant", VARIANTS)
def test_eight_bits_stay_close_to_float(variant):
    calibration = tiny_calibration(variant)
    pixels = tiny_images(24)
    exact_ = run_float(calibration.model, normalize(pixels, calibration.model.input)).detach().numpy()
    errors = []
    for bits in (8, 6, 4, 3):
        found = run_reference(quantize(calibration, uniform_plan(calibration.model, bits, bits)), pixels)
        errors.append(float(((found - exact_) ** 2).mean() / exact_.var()))
    assert errors[0] < 0.01 and errors == sorted(errors)


@quick_examples(100)
@given(st.one_of(floats, near_one), st.one_of(floats, near_one), st.one_of(floats, powers))
def test_fma(a, b, c):
    found = exact.fma(*(torch.tensor([x], dtype=torch.float32) for x in (a, b, c)))
    assert found.item() == round_to_float32(Fraction(a) * Fraction(b) + Fraction(c))


def test_product_switches_to_float64():
    a, b = torch.full((1, 2000), -128, dtype=torch.int8), torch.full((2000, 1), 127, dtype=torch.int8)
    a[0, 0] = 1
    for largest in (2000 << 14, 1 << 24):
        found = exact.product(a, b, largest)
        assert found.dtype == (torch.float32 if largest <= 1 << 24 else torch.float64)
    assert exact.product(a, b, 2000 << 14).item() == 127 - 128 * 127 * 1999
