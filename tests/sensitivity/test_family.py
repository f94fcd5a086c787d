"""The other metrics by hand: each is its published formula, in one table's shape."""

import numpy as np
import pytest
import torch

from lampq_tvm.calibrate.fake import fake_quantize_layer, quantized_layer
from lampq_tvm.network.execute import model_tensors, normalize, run_float
from lampq_tvm.recipes.schema import MetricOptions
from lampq_tvm.sensitivity.criteria import divergence, label_loss, ranking_loss
from lampq_tvm.sensitivity.fisher import inputs_and_gradients, traces
from lampq_tvm.sensitivity.measure import sensitivity
from lampq_tvm.sensitivity.metric import METRICS
from lampq_tvm.sensitivity.pieces import pieces


@pytest.fixture
def measured(calibrated, batches, units):
    return lambda name, **options: sensitivity(calibrated, batches, metric=MetricOptions(name=name, **options), units=units)


def mean_trace(calibrated, batches):
    found = list(pieces(calibrated.model, batches))
    total = sum(traces(calibrated.model, p, "empirical", 0)["trace"].sum(1) for p in found)
    return total / sum(len(p.pixels) for p in found)


@pytest.mark.parametrize("name", [name for name in METRICS if name not in ("kl", "greedy")])
def test_one_table_for_all(measured, calibrated, name):
    found = measured(name)
    count = len(found.widths)
    assert found.loss.shape == (len(calibrated.model.layers), count, count) and np.isfinite(found.loss).all()
    assert found.sees_activations or (found.loss == found.loss[:, :, :1]).all()
    if name != "fisher_output":  # few images, whose gradients leave it noise
        assert (found.loss[:, 0] >= found.loss[:, -1]).all()  # the narrowest weights are the worst


def test_fisher_is_the_trace(measured, calibrated, batches):
    found, trace = measured("fisher", gamma=3.0), mean_trace(calibrated, batches)
    assert np.allclose(found.loss[:, 1, 0], trace * 3.0 ** -found.widths[1])


def test_hawq_is_the_mean_trace_times_the_error(measured, calibrated, batches):
    found, trace = measured("hawq"), mean_trace(calibrated, batches)
    for i, layer in enumerate(calibrated.model.layers):
        real = calibrated.model.tensors[f"{layer.name}.weight"].reshape(layer.out_features, -1)
        wrong = fake_quantize_layer(calibrated, layer.name, found.widths[0], 8)[0] - real
        assert np.isclose(found.loss[i, 0, 0], trace[i] / layer.params * np.square(wrong, dtype=np.float64).sum(), rtol=1e-5)


def test_nuclear_is_the_norm_times_the_output_error(measured, calibrated):
    found = measured("nuclear")
    layer = next(x for x in calibrated.model.layers if x.type == "fc1")
    rows, weight = calibrated.samples[layer.name], calibrated.model.tensors[f"{layer.name}.weight"]
    y = rows.astype(np.float64) @ weight.T
    quantized, act = fake_quantize_layer(calibrated, layer.name, found.widths[0], found.widths[1])
    error = np.square(act(torch.from_numpy(rows)).numpy().astype(np.float64) @ quantized.T - y).sum()
    i = found.layers.index(layer.name)
    assert np.isclose(found.loss[i, 0, 1], np.linalg.svd(y, compute_uv=False).sum() * error, rtol=1e-4)


def test_relevance_is_gradient_times_value(measured, calibrated, batches):
    found, model = measured("relevance"), calibrated.model
    images, labels = (np.concatenate(x) for x in zip(*batches(), strict=True))
    seen = inputs_and_gradients(model, normalize(images, model.input), lambda out: label_loss(out, labels))
    layer = next(x for x in model.layers if x.type == "proj")
    x, g = seen[layer.name]
    y = x @ model_tensors(model)[f"{layer.name}.weight"].T + model_tensors(model)[f"{layer.name}.bias"]
    assert np.isclose(found.details["relevance"][layer.name], float((g * y).abs().sum()) / len(images), rtol=1e-4)


def test_greedy_measures_among_quantized_layers(measured, calibrated, batches):
    found, model = measured("greedy"), calibrated.model
    images = np.concatenate([x for x, _ in batches()])
    x, layer = normalize(images, model.input), model.layers[2]
    others = {n: tuple(map(int, pair.split("/"))) for n, pair in found.details["others"].items()}
    narrow = found.widths[0]

    def loss(change):
        replace = {n: quantized_layer(calibrated, n, *pair) for n, pair in others.items() if n != layer.name} | change
        with torch.no_grad():
            return float(divergence(run_float(model, x), run_float(model, x, replace=replace), model.has_classifier).mean())

    wanted = loss({layer.name: quantized_layer(calibrated, layer.name, narrow, narrow)}) - loss({})
    assert np.isclose(found.loss[2, 0, 0], max(wanted, 0), rtol=1e-3, atol=1e-6)
    assert np.isinf(found.loss[2, 0, 1]) and (found.loss >= 0).all()


def test_floors_know_nothing_of_the_images(measured, calibrated):
    even, drawn = measured("uniform"), measured("random")
    params = np.array([layer.params for layer in calibrated.model.layers])
    assert np.allclose(even.loss[:, 0, 0] / params, even.loss[0, 0, 0] / params[0])
    factors = drawn.loss[:, 0, 0] / even.loss[:, 0, 0]
    assert len(np.unique(factors.round(6))) == len(params) and np.array_equal(measured("random").loss, drawn.loss)


def test_ranking_loss_counts_pairs_out_of_order():
    """By hand: of three pairs one is turned round by 0.1 and one is closer than theta."""
    exact, found = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.4, 0.5, 0.1]])
    assert ranking_loss(exact, exact - torch.tensor([[-9.0, 0.0, 9.0]])) == 0.0
    assert np.isclose(ranking_loss(exact, found, 0.35), (0.35 + 0.1) + (0.35 - 0.3) + 0.0)
