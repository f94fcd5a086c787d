"""Interactions by hand: two layers quantized at once, beside each alone."""

import numpy as np
import torch

from lampq_tvm.calibrate.fake import quantized_layer
from lampq_tvm.network.execute import normalize, run_float
from lampq_tvm.sensitivity.criteria import divergence
from lampq_tvm.sensitivity.interactions import LEAST, PROBE, REACH, bounded
from lampq_tvm.sensitivity.measure import sensitivity


def test_terms_are_what_two_layers_do_together(calibrated, batches, units):
    found = sensitivity(calibrated, batches, units=units, interactions=True)
    model = calibrated.model
    terms = {(i, j): r for i, j, r in found.details["interactions"]}
    count = len(model.layers)
    assert set(terms) == {(i, j) for i in range(count) for j in range(i + 1, count) if j - i <= REACH}
    pixels = np.concatenate([images for images, _ in batches()])
    x = normalize(pixels, model.input)
    near = min(found.widths, key=lambda b: (2 * abs(b - PROBE), b))

    def loss(*places):
        replace = {
            (name := model.layers[i].name): quantized_layer(calibrated, name, near, 8 if model.layers[i].reads_image else near)
            for i in places
        }
        with torch.no_grad():
            return divergence(run_float(model, x), run_float(model, x, replace=replace), model.has_classifier).mean()

    wanted = {}
    for i, j in ((1, 2), (2, 5), (3, 4)):
        wanted[i, j] = np.clip((loss(i, j) - loss(i) - loss(j)) / np.sqrt(loss(i) * loss(j)), -2, 2)
    shares = [terms[pair] / value for pair, value in wanted.items()]  # all terms may have been made smaller together
    assert np.allclose(shares, shares[0], rtol=1e-2) and 0 < shares[0] < 1 + 1e-3


def test_terms_take_no_more_than_there_is():
    """Terms that would make the sum of all layers negative are made smaller together; others stay."""
    terms = [(i, j, -0.4) for i in range(24) for j in range(i + 1, min(i + 5, 24))]
    found = bounded(terms, 24)
    matrix = np.eye(24)
    for i, j, r in found:
        matrix[i, j] = matrix[j, i] = r / 2
    assert np.isclose(np.linalg.eigvalsh(matrix)[0], LEAST) and len({r for *_, r in found}) == 1
    assert bounded(terms[:3], 24) == terms[:3]
