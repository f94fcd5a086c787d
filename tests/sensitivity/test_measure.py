import numpy as np
import pytest
import torch

from lampq_tvm.allocate.budget import parse_budget
from lampq_tvm.allocate.solve import allocate
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.calibrate.fake import fake_quantize_layer, quantized_layer
from lampq_tvm.errors import UsageError
from lampq_tvm.network.execute import model_tensors, normalize, run_float
from lampq_tvm.recipes.schema import MetricOptions
from lampq_tvm.sensitivity.criteria import divergence, hits, label_loss, nll
from lampq_tvm.sensitivity.fisher import inputs_and_gradients, traces
from lampq_tvm.sensitivity.float_run import FloatRun, planned_run
from lampq_tvm.sensitivity.measure import sensitivity
from lampq_tvm.sensitivity.metric import METRICS
from lampq_tvm.sensitivity.metrics.lampq import omegas, sampled_layers
from lampq_tvm.sensitivity.pairs import Pairing
from lampq_tvm.sensitivity.pieces import pieces
from lampq_tvm.sensitivity.table import Sensitivity
from lampq_tvm.store import Units
from tests.recipes.files import recipe


def everything(batches):
    return [np.concatenate(x) for x in zip(*batches(), strict=True)]


def test_starting_at_a_layer_equals_the_whole_run(calibrated, batches):
    model = calibrated.model
    images = normalize(next(iter(batches()))[0], model.input)
    run = FloatRun(model, images)
    for layer in model.layers:
        replace = {layer.name: quantized_layer(calibrated, layer.name, 3, 3)}
        want = run_float(model, images, replace=replace)
        assert torch.equal(run.with_layer(layer.name, replace[layer.name]), want)
        assert not torch.equal(want, run.output)
        exact = run.with_layer(layer.name, quantized_layer(calibrated, layer.name, None, None))
        assert torch.equal(exact, run.output)


@pytest.mark.parametrize("alpha", ["accuracy", "loss"])
def test_lampq_is_alpha_times_trace_by_hand(calibrated, batches, units, alpha):
    model = calibrated.model
    s = sensitivity(calibrated, batches, metric=MetricOptions(name="lampq", alpha=alpha, mu=1, beta=3), units=units)
    images, labels = everything(batches)
    run = FloatRun(model, normalize(images, model.input))
    trace = sum(traces(model, p, "empirical", 0)["trace"].sum(1) for p in pieces(model, batches)) / len(images)
    a = {}
    for kind, (layer,) in sampled_layers(model, 1).items():
        output = run.with_layer(layer.name, quantized_layer(calibrated, layer.name, 3, 3))
        if alpha == "accuracy":
            drop = hits(run.output, labels) - hits(output, labels)
        else:
            drop = nll(output, labels) - nll(run.output, labels)
        least = 1 / len(images) if alpha == "accuracy" else 0.0
        a[kind] = max(float(drop.mean()), float(np.sqrt(max(drop.var(), least) / len(images))))
    floor = 1e-3 * max(s.details["A"].values())
    first = {kind: layers[0].name for kind, layers in sampled_layers(model, 1).items()}
    index = {layer.name: i for i, layer in enumerate(model.layers)}
    for i, layer in enumerate(model.layers):
        omega = max(a[layer.type], floor) / trace[index[first[layer.type]]] * trace[i]
        for j, w in enumerate(s.widths):
            np.testing.assert_allclose(s.loss[i, j], omega * 4.0**-w, rtol=1e-5)
    assert not s.sees_activations and s.details["alpha_from"] == alpha and s.details["labels"] == "empirical"


def test_alpha_guards(model):
    sampled = sampled_layers(model, 3)
    assert [len(v) for v in sampled.values()] == [1, 2, 2, 2, 2, 1]
    trace = np.ones(len(model.layers))
    trace[1] = trace[5] = 0.0  # both qkv
    lost = {x.name: (0.1, 0.01) for x in model.layers}
    lost |= {"blocks.0.fc1": (-0.4, 0.03), "blocks.1.fc1": (0.1, 0.04), "head": (0.0, 0.0)}
    omega, details = omegas(model, trace, lost, sampled)
    assert omega[3] == omega[7] == pytest.approx(0.025)  # fc1: the mean is negative, the standard error of two layers counts
    assert omega[-1] == pytest.approx(1e-4)  # head: no drop and no error, a thousandth of the largest
    assert omega[1] == omega[5] == omega[2] == pytest.approx(0.1)  # qkv: no trace, spread evenly
    assert details["A"]["fc1"] == pytest.approx(-0.15) and details["alpha"]["qkv"] is None
    nothing, _ = omegas(model, np.zeros_like(trace), {x.name: (-1.0, 0.0) for x in model.layers}, sampled)
    assert (nothing > 0).all()


def test_sampled_layers_are_evenly_spaced(model):
    layers = [model.layers[1]] * 12
    fake = type("M", (), {"layers": tuple(layers)})
    picked = sampled_layers(fake, 3)["qkv"]
    assert len(picked) == 3


def test_fisher_output_by_hand(calibrated, batches, units):
    model = calibrated.model
    s = sensitivity(calibrated, batches, metric=MetricOptions(name="fisher_output"), units=units, widths=(2, 4, 8))
    images, labels = everything(batches)
    found = inputs_and_gradients(model, normalize(images, model.input), lambda out: label_loss(out, labels))
    for i, layer in enumerate(model.layers):
        x, g = (t.double() for t in found[layer.name])
        exact = model_tensors(model)[f"{layer.name}.weight"].flatten(1).double()
        for j, w in enumerate(s.widths):
            for k, a in enumerate(s.widths):
                weight, act = fake_quantize_layer(calibrated, layer.name, w, 8 if layer.type == "patch_embed" else a)
                dy = act(x.float()).double() @ torch.from_numpy(weight).double().T - x @ exact.T
                want = 0.5 * float((g * dy).sum((1, 2)).square().mean())
                assert s.loss[i, j, k] == pytest.approx(want, rel=2e-3)
    assert s.sees_activations


@pytest.mark.parametrize("pairs", [Pairing("tied"), Pairing("fixed", 8), Pairing("separate")])
def test_kl_measures_the_pairs_asked_for(calibrated, batches, units, pairs):
    model = calibrated.model
    s = sensitivity(calibrated, batches, metric=MetricOptions(name="kl"), units=units, widths=(2, 4, 8), pairs=pairs)
    images, _ = everything(batches)
    run = FloatRun(model, normalize(images, model.input))
    for i, layer in enumerate(model.layers):
        if layer.type == "patch_embed":
            assert (s.loss[i] == s.loss[i][:, :1]).all()
        elif pairs.mode == "separate":
            assert np.isfinite(s.loss[i]).all()
        else:
            asked = np.zeros((3, 3), bool)
            for w, a in pairs.choices(layer.type, s.widths):
                asked[s.widths.index(w), s.widths.index(a)] = True
                output = run.with_layer(layer.name, quantized_layer(calibrated, layer.name, w, a))
                want = float(divergence(run.output, output, True).mean())
                assert s.loss[i, s.widths.index(w), s.widths.index(a)] == pytest.approx(want, rel=1e-4)
            assert (np.isfinite(s.loss[i]) == asked).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["none", "random", "outside"])
def test_labels_that_mean_nothing(calibrated, unlabelled, units, metric, kind):
    s = sensitivity(calibrated, unlabelled[kind], metric=MetricOptions(name=metric), units=units, widths=(2, 4, 8))
    assert s.details["labels"] == "sampled" and s.details["float_accuracy"] is None
    tied = s.loss[:, range(3), range(3)]
    assert np.isfinite(tied).all() and (tied >= 0).all() and (tied[:, 0] > 0).all()
    if metric == "lampq":
        assert s.details["alpha_from"] == "divergence"


@pytest.mark.parametrize("metric", METRICS)
def test_models_without_a_classifier_use_output_error(headless, batches, units, metric):
    s = sensitivity(headless, batches, metric=MetricOptions(name=metric), units=units, widths=(2, 4, 8))
    tied = s.loss[:, range(3), range(3)]
    assert (tied[:, 0] > tied[:, 2]).all() and s.details["labels"] == "sampled"
    if metric == "kl":
        images, _ = everything(batches)
        run = FloatRun(headless.model, normalize(images, headless.model.input))
        output = run.with_layer("blocks.0.fc2", quantized_layer(headless, "blocks.0.fc2", 2, 2))
        want = 0.5 * float((output - run.output).square().sum(1).mean())
        at = s.layers.index("blocks.0.fc2")
        assert s.loss[at, 0, 0] == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_a_kill_changes_nothing(calibrated, batches, tmp_path, metric, monkeypatch):
    monkeypatch.setattr("lampq_tvm.sensitivity.pieces.PIECE_BYTES", 10 * 4 * 17 * 300)
    want = sensitivity(calibrated, batches, metric=MetricOptions(name=metric), units=Units(tmp_path / "whole"))
    folder, left = tmp_path / "killed", [7]

    class Killed(Units):
        def get(self, name, compute):
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            return super().get(name, compute)

    with pytest.raises(KeyboardInterrupt):
        sensitivity(calibrated, batches, metric=MetricOptions(name=metric), units=Killed(folder))
    got = sensitivity(calibrated, batches, metric=MetricOptions(name=metric), units=Units(folder))
    np.testing.assert_array_equal(got.loss, want.loss)
    assert got.details == want.details
    got.save(tmp_path / "s.st")
    again = Sensitivity.load(tmp_path / "s.st")
    np.testing.assert_array_equal(again.loss, want.loss)


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_leads_to_a_plan(calibrated, batches, units, metric):
    s = sensitivity(calibrated, batches, metric=MetricOptions(name=metric), units=units)
    plan = allocate(calibrated.model, s, [parse_budget("4bit")])
    assert plan.avg_w_bits <= 4 and plan.avg_a_bits <= 4


@pytest.mark.parametrize(
    "wrong",
    [{"name": "hessian"}, {"labels": "x"}, {"alpha": "x"}, {"gamma": 1.0}, {"mu": 0}, {"widths": (4, 9)}, {"widths": (8, 4)}],
)
def test_wrong_options_are_named(calibrated, batches, units, tmp_path, wrong):
    widths = wrong.get("widths", (2, 8))
    with pytest.raises(UsageError):
        metric = recipe(tmp_path / "r.toml", metric={k: v for k, v in wrong.items() if k != "widths"}).metric
        sensitivity(calibrated, batches, units=units, metric=metric, widths=widths)


def test_no_images_are_named(calibrated, units):
    with pytest.raises(UsageError, match="no image"):
        sensitivity(calibrated, lambda: iter([]), units=units)


def test_a_planned_run_replaces_every_layer(calibrated, batches):
    model = calibrated.model
    images = normalize(next(iter(batches()))[0], model.input)
    exact = run_float(model, images)
    errors = []
    for bits in (8, 4, 2):
        plan = uniform_plan(model, bits, bits)
        replace = {x.name: quantized_layer(calibrated, x.name, bits, bits) for x in model.layers}
        output = planned_run(calibrated, plan)(images)
        assert torch.equal(output, run_float(model, images, replace=replace))
        errors.append(float((output - exact).square().mean()))
    assert errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("metric", ["fisher_output", "lampq", "kl"])
def test_the_same_bytes_whatever_the_number_of_jobs(calibrated, batches, tmp_path, monkeypatch, metric):
    monkeypatch.setattr("lampq_tvm.sensitivity.pieces.PIECE_BYTES", 10 * 4 * 17 * 300)
    for jobs in (1, 2, 5):
        units = Units(tmp_path / f"units{jobs}")
        found = sensitivity(calibrated, batches, metric=MetricOptions(name=metric), widths=(2, 4, 8), units=units, jobs=jobs)
        found.save(tmp_path / f"{jobs}.st")
    assert len({(tmp_path / f"{jobs}.st").read_bytes() for jobs in (1, 2, 5)}) == 1
