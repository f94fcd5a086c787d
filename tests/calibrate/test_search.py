"""The searches beat the full range and keep it where it is best."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lampq_tvm.calibrate.fake import fake_quantize
from lampq_tvm.calibrate.search import output_error, output_mixer, search_activation
from lampq_tvm.calibrate.search_weights import _output_error, search_heads, search_twin_log, search_weights
from lampq_tvm.quantizers.symmetric import SymmetricWeights
from lampq_tvm.quantizers.twin_log import TwinLogWeights
from lampq_tvm.quantizers.uniform import Uniform

WIDTHS = (2, 3, 4, 5, 6, 7, 8)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.5, 2.0), (-3.0, -1.0), (0.0, 0.0)])
@pytest.mark.parametrize("bits", WIDTHS)
def test_quantizer_holds_zero_and_exactly_its_codes(low, high, bits):
    found = Uniform.of_range(low, high, bits)
    assert found.low <= found.zero <= found.high and found.scale > 0
    x = torch.linspace(low - 1, high + 1, 5000)
    assert len(fake_quantize(x, found).unique()) <= 2**bits
    assert fake_quantize(torch.zeros(1), found).item() == 0


@pytest.mark.parametrize("shape", ["gelu", "normal"])
def test_search_beats_the_full_range(shape):
    rows = normal(400, 24) * torch.linspace(0.5, 3, 24)
    rows = torch.nn.functional.gelu(rows) if shape == "gelu" else rows
    weight = normal(40, 24, seed=1)
    low, high = float(rows.min()), float(rows.max())
    found = search_activation(rows, weight, low, high, dict.fromkeys(WIDTHS, Uniform))
    mixer, last = output_mixer(weight), float("inf")
    for bits in WIDTHS:
        error = output_error(rows, mixer, found[bits])
        assert error <= output_error(rows, mixer, Uniform.of_range(low, high, bits)) and error < last
        last = error
    assert output_error(rows, mixer, found[3]) < 0.7 * output_error(rows, mixer, Uniform.of_range(low, high, 3))
    assert found[8] == Uniform.of_range(low, high, 8)


def test_gelu_outputs_do_not_lose_their_zero_point():
    """A range shrunk in proportion could not represent the small negative values of GELU and large ones at once."""
    rows = torch.nn.functional.gelu(3 * normal(500, 16))
    found = search_activation(rows, normal(8, 16, seed=1), float(rows.min()), float(rows.max()), {4: Uniform})[4]
    assert found.low <= found.zero <= found.low + 1 and found.scale * 15 > 2


def test_full_range_is_kept_where_it_is_best():
    rows = torch.linspace(-1, 1, 16).repeat_interleave(8).view(-1, 8)
    found = search_activation(rows, torch.eye(8), -1.0, 1.0, {4: Uniform})[4]
    assert output_error(rows, torch.eye(8), found) <= output_error(rows, torch.eye(8), Uniform.of_range(-1.0, 1.0, 4))


@pytest.mark.parametrize("outputs", [5, 90])
def test_mixer_measures_the_output(outputs):
    weight, d = normal(outputs, 30), normal(7, 30, seed=2)
    assert torch.allclose((d @ output_mixer(weight)).square().sum(1), (d @ weight.T).square().sum(1), rtol=1e-4)


def test_weight_scales_beat_max():
    weight, rows = normal(16, 64), normal(500, 64, seed=1) * torch.linspace(0.1, 2, 64)
    moments = rows.T @ rows / len(rows)

    def error(scale, bits):
        half, s = 1 << (bits - 1), torch.as_tensor(scale).float()[:, None]
        wrong = (weight / s).round().clamp(-half, half - 1) * s - weight
        return ((wrong @ moments) * wrong).sum(1)

    for bits in WIDTHS:
        found = search_weights(weight, moments, bits).scale
        plain = weight.abs().amax(1) / ((1 << (bits - 1)) - 1)
        assert found.shape == (16,) and found.dtype == np.float64
        assert (error(found, bits) <= error(plain, bits) * 1.02).all()
    assert (search_weights(weight, moments, 2).scale < 0).any()  # the extra code serves the side that needs it


def test_few_rows_measure_as_their_moments_do():
    """40 rows of 64 inputs: the errors of weights are the same from the rows as from their second moments."""
    rows = normal(40, 64, seed=1) * torch.linspace(0.1, 2, 64)
    moments, wrong = rows.T @ rows / 40, normal(16, 64, seed=2)
    found = _output_error(wrong, moments, rows.T / 40**0.5)
    assert torch.allclose(found, _output_error(wrong, moments, None), rtol=1e-4)
    by_rows, by_moments = (search_weights(wrong, moments, 3, half) for half in (rows.T / 40**0.5, None))
    assert np.array_equal(by_rows.scale, by_moments.scale)


def test_head_scales():
    values, peak = normal(300, 3, 8), torch.tensor([4.0, 5.0, 6.0])
    full = search_heads(values, torch.ones(3, 8), peak, 8)
    assert np.array_equal(full.scale, (peak / 127).numpy())
    assert (search_heads(values, torch.ones(3, 8), peak, 4).scale < (peak / 7).numpy()).all()


def test_levels_in_powers_of_two_are_fitted_to_the_weights():
    """Never worse than the whole reach at any eta; heavy tails at 3 bits suit them; symmetric at 8 bits."""
    torch.manual_seed(0)
    weight = torch.distributions.StudentT(3.0).sample((12, 64)) * 0.05
    rows = torch.randn(256, 64)
    moments = rows.T @ rows / 256
    for bits in (3, 4):
        found = search_twin_log(weight, moments, bits)
        assert isinstance(found, TwinLogWeights)

        def error(q):
            wrong = torch.from_numpy(q.values(q.encode(weight.numpy()))).float() - weight
            return float(((wrong @ moments) * wrong).sum())

        low, high = weight.amin(1).numpy(), weight.amax(1).numpy()
        assert all(error(found) <= error(q) * (1 + 1e-6) for q in TwinLogWeights.candidates(low, high, bits))
        if bits == 3:
            assert error(found) < error(search_weights(weight, moments, bits))
    assert isinstance(search_twin_log(weight, moments, 8), SymmetricWeights)
