"""Interactions by hand: two layers quantized at once, beside each alone."""

import numpy as np
import torch

from lampq_tvm.calibrate.fake import quantized_layer
from lampq_tvm.network.execute import normalize, run_float
from lampq_tvm.sensitivity.criteria import divergence
from lampq_tvm.sensitivity.interactions import PROBE, REACH
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

    for i, j in ((1, 2), (2, 5)):
        wanted = (loss(i, j) - loss(i) - loss(j)) / np.sqrt(loss(i) * loss(j))
        assert np.isclose(terms[i, j], np.clip(wanted, -2, 2), rtol=1e-3, atol=1e-4)
