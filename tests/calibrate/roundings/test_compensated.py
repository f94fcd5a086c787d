"""Compensated weight codes stay in their range and lower the output error."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lampq_tvm.calibrate.roundings.compensated import compensated_codes
from lampq_tvm.calibrate.search_weights import search_asymmetric, search_twin_log, search_weights
from lampq_tvm.quantizers.symmetric import SymmetricWeights
from tests.calibrate.test_search import normal


def layer(correlated=True, columns=70):
    weight, rows = normal(20, columns), normal(400, columns, seed=1)
    rows = rows @ (torch.eye(columns) + 0.5 * normal(columns, columns, seed=2)) if correlated else rows
    return weight, rows.T @ rows / len(rows)


def output_errors(weight, moments, values):
    wrong = torch.as_tensor(values).float() - weight
    return ((wrong @ moments) * wrong).sum(1)


@pytest.mark.parametrize("search", [search_weights, search_asymmetric])
@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_correlated_inputs_gain(bits, search):
    weight, moments = layer()
    found = search(weight, moments, bits)
    codes = compensated_codes(weight, {bits: found}, moments, 0.02)[bits]
    assert codes.dtype == np.int8 and codes.min() >= -(1 << (bits - 1)) and codes.max() < 1 << (bits - 1)
    rounded = output_errors(weight, moments, found.values(found.encode(weight.numpy())))
    assert output_errors(weight, moments, found.values(codes)).sum() < 0.8 * rounded.sum()


def test_unrelated_inputs_are_rounded():
    weight, _ = layer()
    found = SymmetricWeights(4, np.full(20, 0.3))
    codes = compensated_codes(weight, {4: found}, torch.eye(70), 0.02)[4]
    assert np.array_equal(codes, found.encode(weight.numpy()))


def test_widths_do_not_see_each_other():
    weight, moments = layer()
    quantizers = {2: search_weights(weight, moments, 2)} | {b: search_asymmetric(weight, moments, b) for b in (4, 5)}
    together = compensated_codes(weight, quantizers, moments, 0.02)
    for bits, found in quantizers.items():
        assert np.array_equal(compensated_codes(weight, {bits: found}, moments, 0.02)[bits], together[bits])


def test_inputs_that_are_always_zero():
    weight, _ = layer()
    found = SymmetricWeights(3, np.full(20, 0.5))
    codes = compensated_codes(weight, {3: found}, torch.zeros(70, 70), 0.02)
    assert np.array_equal(codes[3], found.encode(weight.numpy()))
    assert compensated_codes(weight, {}, torch.eye(70), 0.02) == {}


def test_levels_that_are_not_even_take_the_nearest():
    """Beside even ones, whose errors make up for each other."""
    torch.manual_seed(0)
    weight, rows = torch.randn(6, 40) * 0.1, torch.randn(200, 40)
    moments = rows.T @ rows / 200
    levels, even = search_twin_log(weight, moments, 3), search_weights(weight, moments, 4)
    found = compensated_codes(weight, {3: levels, 4: even}, moments, 0.02)
    assert np.array_equal(found[3], levels.encode(weight.numpy()))
    assert np.array_equal(found[4], compensated_codes(weight, {4: even}, moments, 0.02)[4])
