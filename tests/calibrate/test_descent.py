"""One more turn over a layer's codes: by hand on one row, never worse, and what it wins where codes are few."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from lampq_tvm.calibrate.descent import descended
from lampq_tvm.calibrate.roundings.compensated import compensated_codes
from lampq_tvm.calibrate.search_weights import search_asymmetric, search_weights
from lampq_tvm.quantizers.symmetric import SymmetricWeights


def layer(seed, n=24, k=70):
    """Weights [N, K] and moments [K, K] of correlated inputs."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4 * k, k)) @ (np.eye(k) + 0.3 * rng.normal(size=(k, k)))
    moments = x.T @ x / len(x)
    return torch.from_numpy(rng.normal(size=(n, k))), torch.from_numpy(moments + 0.05 * moments.diagonal().mean() * np.eye(k))


def error(weight, quantizer, codes, moments):
    """Of the outputs, by row."""
    wrong = quantizer.values(codes) - weight.numpy()
    return np.einsum("nk,kl,nl->n", wrong, moments.numpy(), wrong)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("search", [search_weights, search_asymmetric])
def test_no_row_loses_and_the_layer_gains(bits, search):
    for seed in range(4):
        weight, moments = layer(seed)
        quantizer = search(weight.float(), moments.float(), bits)
        codes = compensated_codes(weight.float(), {bits: quantizer}, moments, 1e-6)[bits]
        found, after = descended(weight, quantizer, codes, moments)
        before, now = error(weight, quantizer, codes, moments), error(weight, found, after, moments)
        assert (now <= before * (1 + 1e-9)).all() and now.sum() < 0.95 * before.sum()
        assert after.dtype == np.int8 and after.min() >= found.range[0] and after.max() <= found.range[1]


def test_two_columns_by_hand():
    """Scales stay where they are the least squares' already; a column moves to what is best beside the other one."""
    moments = torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    quantizer = SymmetricWeights(3, np.array([1.0]))
    weight = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    found, after = descended(weight, quantizer, np.array([[0, 3]], np.int8), moments)
    # h c = [3, 3], h w = [4, 3]: scale 9/9. Column 0 wants (4 - 3) / 2 more, a tie to even: it stays. Column 1 wants none.
    assert found.scale.tolist() == [1.0] and after.tolist() == [[0, 3]]
    weight = torch.tensor([[1.2, 1.8]], dtype=torch.float64)
    found, after = descended(weight, quantizer, np.array([[0, 3]], np.int8), moments)
    # h w = [4.2, 3]: column 0 wants 0.6, so 1; column 1 then has 3 - 4 = -1 left, so 2.
    assert found.scale.tolist() == [1.0] and after.tolist() == [[1, 2]]


def test_blocks_are_no_more_than_order():
    """What one turn finds, column by column with the whole gradient each time."""
    weight, moments = layer(5, n=3, k=40)
    quantizer = search_weights(weight.float(), moments.float(), 2)
    codes = quantizer.encode(weight.numpy())
    found, after = descended(weight, quantizer, codes, moments)
    h, now = moments.numpy(), codes.astype(float)
    for n, k in itertools.product(range(3), np.argsort(-h.diagonal(), kind="stable")):
        gradient = h[k] @ (weight.numpy()[n] - now[n] * found.scale[n])
        now[n, k] = np.clip(np.rint(now[n, k] + gradient / (h[k, k] * found.scale[n])), *found.range)
    assert np.array_equal(now, after)


def test_rows_without_codes_stay():
    weight, moments = layer(1, n=2, k=8)
    weight[0] = 0
    quantizer = SymmetricWeights(2, np.array([0.5, 0.5]))
    found, after = descended(weight, quantizer, np.zeros((2, 8), np.int8), moments)
    assert found.scale[0] == 0.5 and not after[0].any() and np.isfinite(found.scale).all()
