import numpy as np
import pytest
import torch

from lampq_tvm.network.execute import model_tensors, normalize, run_float
from lampq_tvm.sensitivity.criteria import label_loss, sampled_loss
from lampq_tvm.sensitivity.fisher import inputs_and_gradients, squared_norms, traces
from lampq_tvm.sensitivity.pieces import Piece, piece_size, pieces


def explicit(model, images, loss):
    """Squared norm of every layer's weight gradient, image by image."""
    norms = {layer.name: [] for layer in model.layers}
    for i in range(len(images)):
        own = {f"{x.name}.weight": model_tensors(model)[f"{x.name}.weight"].clone().requires_grad_() for x in model.layers}
        loss(run_float(model, images[i : i + 1], tensors=own), i).backward()
        for layer in model.layers:
            norms[layer.name].append(float(own[f"{layer.name}.weight"].grad.square().sum()))
    return np.stack([norms[layer.name] for layer in model.layers])


def test_traces_are_squared_gradients_of_single_images(model, batches):
    images, labels = next(iter(batches()))
    piece = Piece(0, images[:6], labels[:6], "k")
    want = explicit(model, normalize(images[:6], model.input), lambda out, i: label_loss(out, labels[i : i + 1]))
    np.testing.assert_allclose(traces(model, piece, "empirical", 0)["trace"], want, rtol=2e-4)


def test_a_batch_mean_gradient_would_fall_short(model, batches):
    images, labels = next(iter(batches()))
    own = {"head.weight": model_tensors(model)["head.weight"].clone().requires_grad_()}
    (label_loss(run_float(model, normalize(images, model.input), tensors=own), labels) / len(images)).backward()
    trace = traces(model, Piece(0, images, labels, "k"), "empirical", 0)["trace"].mean(1)
    assert float(own["head.weight"].grad.square().sum()) < trace[-1] / 3


@pytest.mark.parametrize(("tokens", "k", "n"), [(3, 40, 50), (60, 4, 5), (1, 7, 9)])
def test_both_ways_to_the_norm_agree(tokens, k, n):
    rng = np.random.default_rng(0)
    x, g = (torch.from_numpy(rng.normal(size=(4, tokens, c))) for c in (k, n))
    want = [float((g[i].T @ x[i]).square().sum()) for i in range(4)]
    np.testing.assert_allclose(squared_norms(x, g), want, rtol=1e-10)


def test_gradients_reach_every_layer_with_its_tokens(model, batches):
    images, labels = next(iter(batches()))
    found = inputs_and_gradients(model, normalize(images[:2], model.input), lambda out: label_loss(out, labels[:2]))
    for layer in model.layers:
        x, g = found[layer.name]
        assert x.shape == (2, layer.macs // layer.params, layer.in_features)
        assert g.shape == (2, layer.macs // layer.params, layer.out_features)
        y = x @ model_tensors(model)[f"{layer.name}.weight"].flatten(1).T
        assert not x.requires_grad and not g.requires_grad and y.shape == g.shape


def test_sampled_labels_follow_the_model(model):
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0, 0.5]]).repeat(4000, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(sampled_loss(logits, True, (0, 0)), logits)
    drawn = (gradient - torch.softmax(logits, 1)).argmin(1)  # the gradient is p minus one at the drawn class
    share = torch.bincount(drawn, minlength=5) / 4000
    assert float((share - torch.softmax(logits[0].detach(), 0)).abs().max()) < 0.025
    first, again, other = (sampled_loss(logits.detach(), True, seed) for seed in ((0, 0), (0, 0), (1, 0)))
    assert first == again != other


def test_pieces_split_but_keep_every_image(model, batches, monkeypatch):
    monkeypatch.setattr("lampq_tvm.sensitivity.pieces.PIECE_BYTES", 10 * 4 * 17 * 300)
    assert 1 <= piece_size(model) < 24
    found = list(pieces(model, batches))
    assert [p.index for p in found] == list(range(len(found))) and len({p.key for p in found}) == len(found)
    np.testing.assert_array_equal(np.concatenate([p.pixels for p in found]), np.concatenate([x for x, _ in batches()]))
    np.testing.assert_array_equal(np.concatenate([p.labels for p in found]), np.concatenate([y for _, y in batches()]))
