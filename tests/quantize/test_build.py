"""The plan decides widths and constants; constants are the rounded formulas."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.calibrate.fake import fake_quantize_layer
from lampq_tvm.errors import CorruptError, UnsupportedError
from lampq_tvm.network import model as f
from lampq_tvm.network.execute import normalize, run_float
from lampq_tvm.quantize import model as q
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.constants import check_range
from lampq_tvm.quantize.reference import run_reference
from tests.quantize.tiny import VARIANTS, tiny_calibration, tiny_images, tiny_model


def mixed_plan(model, seed=0):
    """Every layer at random widths."""
    rng, plan = np.random.default_rng(seed), uniform_plan(model, 8, 8)
    rows = [r.model_copy(update={"w_bits": int(rng.integers(2, 9)), "a_bits": int(rng.integers(2, 9))}) for r in plan.layers]
    rows[0] = rows[0].model_copy(update={"a_bits": 8})
    return plan.model_copy(update={"layers": tuple(rows)})


@pytest.mark.parametrize("variant", VARIANTS)
def test_products_follow_the_layer_table(variant):
    calibration = tiny_calibration(variant)
    plan = mixed_plan(calibration.model)
    qm = quantize(calibration, plan)
    products = [op for op in qm.ops if isinstance(op, q.QPatchEmbed | q.QProduct)]
    assert [op.w_bits for op in products] == [row.w_bits for row in plan.layers]
    for op, row in zip(products, plan.layers, strict=True):
        w = qm.tensors[f"{op.name}.w"]
        assert w.dtype == np.int8 and w.size == row.params
        codes = w.astype(int) + (qm.tensors[f"{op.name}.zero"][:, None] if op.has_zeros else 0)
        assert codes.min() >= -(1 << (row.w_bits - 1)) and codes.max() < 1 << (row.w_bits - 1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_codes_fit_the_width_of_their_reader(variant):
    calibration = tiny_calibration(variant)
    qm = quantize(calibration, mixed_plan(calibration.model, 1))
    values = run_reference(qm, tiny_images(4), values=True)
    for op in qm.ops:
        if isinstance(op, q.QProduct):
            codes = values[op.inputs[0]]
            assert codes.dtype == np.int8
            assert codes.min() >= -(1 << (op.a_bits - 1)) and codes.max() < 1 << (op.a_bits - 1)


def test_product_means_what_it_stands_for():
    """S acc + B of a layer equals its float formula on dequantized weights and input."""
    calibration = tiny_calibration()
    plan = mixed_plan(calibration.model, 2)
    qm, pixels = quantize(calibration, plan), tiny_images(3)
    values = run_reference(qm, pixels, values=True)
    row = plan.layer("head")
    w, _ = fake_quantize_layer(calibration, "head", row.w_bits, row.a_bits)
    x = calibration.activations["head"][row.a_bits]
    real = x.scale * (values["take0"].astype(np.float64) - x.zero) @ w.T + calibration.model.tensors["head.bias"]
    assert np.allclose(values["head"], real, atol=1e-5)


def test_pixels_are_folded_exactly():
    """The patch embedding at 8 bits is the float one up to its weights' rounding; with the rounded weights it is equal."""
    calibration = tiny_calibration()
    model, pixels = calibration.model, tiny_images(3)
    found = run_reference(quantize(calibration, uniform_plan(model, 3, 8)), pixels, values=True)["patch"]
    w, same = fake_quantize_layer(calibration, "patch", 3, 8)
    tensors = {**model.tensors, "patch.weight": w.reshape(model.tensors["patch.weight"].shape)}
    rounded = dataclasses.replace(model, tensors=tensors)
    seen = {}
    x = normalize(pixels, model.input)
    run_float(rounded, x, observe=lambda op, _, y: seen.setdefault(op.name, y))
    assert same(x) is x
    assert np.allclose(found, seen["patch"].numpy(), atol=1e-5)


def test_save_and_load(tmp_path):
    calibration = tiny_calibration("two_heads")
    qm = quantize(calibration, mixed_plan(calibration.model))
    qm.save(tmp_path / "q")
    again = q.QuantizedModel.load(tmp_path / "q")
    assert again.ops == qm.ops and again.plan == qm.plan and again.input == qm.input
    assert np.array_equal(run_reference(again, tiny_images(2)), run_reference(qm, tiny_images(2)))


def test_refusals():
    calibration = tiny_calibration()
    model = calibration.model
    with pytest.raises(CorruptError):
        quantize(calibration, uniform_plan(tiny_model("two_heads"), 8, 8))
    with pytest.raises(UnsupportedError, match="int32"):
        check_range(1 << 17, 128, 128, "fc2")
    check_range((1 << 17) - 1, 128, 128, "fc2")
    ops = (*model.ops, f.Activation("after", ("head",), "relu"))
    odd = dataclasses.replace(calibration, model=dataclasses.replace(model, ops=ops, outputs=("after",)))
    with pytest.raises(UnsupportedError, match="after"):
        quantize(odd, uniform_plan(model, 8, 8))


def test_quantizers_are_described():
    """By name and parameters, as the plan chose them; what a file holds is the same."""
    calibration = tiny_calibration("pool")
    plan = mixed_plan(calibration.model, 5)
    found = quantize(calibration, plan).quantizers
    for row in plan.layers:
        assert found[row.name]["weights"] == {"name": "asymmetric" if row.w_bits == 2 else "symmetric", "bits": row.w_bits}
        chosen = "uniform" if row.reads_image else calibration.activations[row.name][row.a_bits].name
        assert found[row.name]["input"]["name"] == chosen and found[row.name]["input"]["bits"] == row.a_bits
    x = calibration.activations["head"][plan.layer("head").a_bits]
    assert found["head"]["input"] == {"name": "uniform", "bits": x.bits, "scale": x.scale, "zero": x.zero}
    for name in calibration.attention:
        assert found[name]["operands"] == {"name": "symmetric_heads", "bits": 8}
        assert found[name]["probabilities"]["name"] == "uniform" and found[name]["probabilities"]["bits"] == 8
    floats = quantize(calibration, uniform_plan(calibration.model, 16, 16, 16)).quantizers
    assert floats["head"] == {"weights": {"name": "float16_weights"}, "input": {"name": "float16"}}
    assert floats["attn_pool"] == {"operands": {"name": "float16"}}
