"""Compensated weight codes stay in their range and lower the output error."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lampq_tvm.calibrate.roundings.compensated import compensated_codes
from lampq_tvm.calibrate.search_weights import search_weights
from lampq_tvm.quantizers.symmetric import SymmetricWeights
from tests.calibrate.test_search import normal


def layer(correlated=True, columns=70):
    weight, rows = normal(20, columns), normal(400, columns, seed=1)
    rows = rows @ (torch.eye(columns) + 0.5 * normal(columns, columns, seed=2)) if correlated else rows
    return weight, rows.T @ rows / len(rows)


def output_errors(weight, moments, codes, scale):
    wrong = torch.as_tensor(codes * scale[:, None]).float() - weight
    return ((wrong @ moments) * wrong).sum(1)


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_correlated_inputs_gain(bits):
    weight, moments = layer()
    scale = search_weights(weight, moments, bits).scale
    codes = compensated_codes(weight, {bits: scale}, moments, 0.02)[bits]
    assert codes.dtype == np.int8 and codes.min() >= -(1 << (bits - 1)) and codes.max() < 1 << (bits - 1)
    rounded = output_errors(weight, moments, SymmetricWeights(bits, scale).encode(weight.numpy()), scale)
    assert output_errors(weight, moments, codes, scale).sum() < 0.8 * rounded.sum()


def test_unrelated_inputs_are_rounded():
    weight, _ = layer()
    scale = np.full(20, 0.3)
    codes = compensated_codes(weight, {4: scale}, torch.eye(70), 0.02)[4]
    assert np.array_equal(codes, SymmetricWeights(4, scale).encode(weight.numpy()))


def test_widths_do_not_see_each_other():
    weight, moments = layer()
    scales = {b: search_weights(weight, moments, b).scale for b in (2, 4, 5)}
    together = compensated_codes(weight, scales, moments, 0.02)
    for bits, scale in scales.items():
        assert np.array_equal(compensated_codes(weight, {bits: scale}, moments, 0.02)[bits], together[bits])


def test_inputs_that_are_always_zero():
    weight, _ = layer()
    codes = compensated_codes(weight, {3: np.full(20, 0.5)}, torch.zeros(70, 70), 0.02)
    assert np.array_equal(codes[3], SymmetricWeights(3, np.full(20, 0.5)).encode(weight.numpy()))
    assert compensated_codes(weight, {}, torch.eye(70), 0.02) == {}
