"""Quantizers with tables, which only tests know, behind every producer of codes: oracle and reference agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lampq_tvm.allocate.costs import table_bytes
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.calibrate.fake import fake_quantize_layer
from lampq_tvm.network.execute import normalize, run_float
from lampq_tvm.oracle.run import run_oracle
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.model import QLookUp, QProduct, QuantizedModel
from lampq_tvm.quantize.reference import run_reference
from tests.quantize.tiny import VARIANTS, tiny_calibration, tiny_images
from tests.quantizers.tabled import with_quantizer


def tabled(variant: str, name: str, bits: int = 4, attention: int = 8) -> QuantizedModel:
    """The tiny network with every layer's input quantized by a quantizer of the tests."""
    calibration = with_quantizer(tiny_calibration(variant), name)
    return quantize(calibration, uniform_plan(calibration.model, 6, bits, attention))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["squares", "powers"])
def test_oracle_equals_reference(variant, name):
    qm, pixels = tabled(variant, name), tiny_images(6, seed=9)
    ours, torchs = run_oracle(qm, pixels), run_reference(qm, pixels, values=True)
    assert set(torchs) == {op.name for op in qm.ops}
    for value, found in torchs.items():
        assert found.dtype == ours[value].dtype and np.array_equal(found, ours[value]), value


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("name", "most"), [("squares", 16), ("powers", 16)])
def test_what_layers_read_are_levels(variant, name, most):
    """Every input of a layer but the patch embedding's holds at most 16 values; two planes hold 16 pairs."""
    qm = tabled(variant, name)
    values = run_reference(qm, tiny_images(4), values=True)
    layers = [op for op in qm.ops if isinstance(op, QProduct)]
    for op in layers:
        assert len(np.unique(values[op.inputs[0]])) <= most
    assert any(isinstance(op, QLookUp) for op in qm.ops) == (name == "powers")


@pytest.mark.parametrize("name", ["squares", "powers"])
def test_products_mean_what_they_stand_for(name):
    """The head's logits are its float formula on the values that the stored levels stand for."""
    qm, calibration = tabled("token", name), with_quantizer(tiny_calibration(), name)
    values, found = run_reference(qm, tiny_images(4), values=True), calibration.activations["head"][4]
    w, fake = fake_quantize_layer(calibration, "head", 6, 4)
    codes = values[next(op for op in qm.ops if op.name == "head").inputs[0]].astype(int)
    if name == "powers":
        codes = 256 * values["head.high"].astype(int) + codes
    x = found.decoder.scale * codes
    assert np.allclose(fake(torch.from_numpy(x.astype(np.float32))).numpy(), x, rtol=1e-5)  # they are its values
    assert np.allclose(values["head"], x @ w.T + calibration.model.tensors["head.bias"], atol=1e-4)


def test_more_levels_come_closer_to_the_float_network():
    pixels = tiny_images(24)
    exact = run_float(tiny_calibration().model, normalize(pixels, tiny_calibration().model.input)).detach().numpy()
    errors = [float(((run_reference(tabled("token", "squares", bits), pixels) - exact) ** 2).mean()) for bits in (2, 4, 6)]
    assert errors[2] < errors[1] < errors[0]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["squares", "powers"])
def test_budgets_of_bytes_count_tables(variant, name):
    """They add never more to a payload than plans count, and nearly as much."""
    plain = tiny_calibration(variant)
    stored, without = (
        sum(array.nbytes for key, array in quantize(c, uniform_plan(c.model, 8, 4)).tensors.items() if not key.endswith(".w"))
        for c in (with_quantizer(plain, name), plain)
    )
    layers = [layer.name for layer in plain.model.layers]
    counted = table_bytes(plain.model, {layer: {4: name} for layer in layers})
    assert stored - without <= counted <= stored - without + 256 * len(layers)
    assert table_bytes(plain.model, {layer: dict.fromkeys((2, 4, 8), "uniform") for layer in layers}) == 0


@pytest.mark.parametrize("name", ["squares", "powers"])
def test_a_saved_network_is_the_same(tmp_path, name):
    qm = tabled("token", name)
    qm.save(tmp_path / "network.st")
    assert QuantizedModel.load(tmp_path / "network.st").ops == qm.ops
