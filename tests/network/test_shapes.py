"""Shapes are inferred in one place, and are those of the values; the layer table follows from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lampq_tvm.bitplan import LayerPlan, uniform_plan
from lampq_tvm.errors import UnsupportedError
from lampq_tvm.network.execute import normalize, run_float
from lampq_tvm.network.model import Linear
from lampq_tvm.network.op import Op
from lampq_tvm.network.shapes import infer_shapes
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.reference import run_reference
from tests.compiler.networks import FAMILIES, images, network, quantized
from tests.quantize.tiny import VARIANTS, tiny_calibration, tiny_images


@pytest.mark.parametrize("variant", VARIANTS)
def test_shapes_are_those_of_the_values(variant):
    calibration, found = tiny_calibration(variant), {}
    model = calibration.model
    x = normalize(tiny_images(2), model.input)
    run_float(model, x, observe=lambda op, inputs, out: found.update({op.name: tuple(out.shape)}))
    assert {"image": tuple(x.shape), **found} == {name: (2, *shape) for name, shape in model.shapes.items()}
    qm = quantize(calibration, uniform_plan(model, 8, 8))
    values = run_reference(qm, tiny_images(2), values=True)
    inferred = infer_shapes(qm.ops, qm.input, qm.tensors)
    assert {name: (2, *inferred[name]) for name in values} == {name: value.shape for name, value in values.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_of_every_family(family):
    qm = quantized(family, "8/8")
    values = run_reference(qm, images(family, 1), values=True)
    inferred = infer_shapes(qm.ops, qm.input, qm.tensors)
    assert {name: (1, *inferred[name]) for name in values} == {name: value.shape for name, value in values.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_layer_table_counts_what_is_multiplied(family):
    """Rows of weights are those of the products that run, and only the first of them reads the image."""
    model, ran = network(family), {}

    def count(op, inputs, out):
        if f"{op.name}.weight" in model.tensors:
            weight = model.tensors[f"{op.name}.weight"]
            rows = out.numel() // len(weight) - getattr(op, "prefix_tokens", 0)
            ran[op.name] = (len(weight), weight[0].size, rows * weight.size)

    run_float(model, normalize(images(family, 1), model.input), observe=count)
    assert {row.name: (row.out_features, row.in_features, row.macs) for row in model.layers} == ran
    assert [row.reads_image for row in model.layers] == [True] + [False] * (len(model.layers) - 1)
    plan = uniform_plan(model, 4, 4)
    assert [row.reads_image for row in plan.layers] == [row.reads_image for row in model.layers]


@pytest.mark.parametrize("family", ["vit", "swin", "siglip", "dinov2"])
def test_a_layer_is_its_columns_times_its_weights(family):
    """Of every operator with weights: `columns` of its input, multiplied, are what `products` takes of its output."""
    model, seen = network(family), []

    def check(op, inputs, out):
        if op.layer_type is None:
            return
        t = {k: torch.from_numpy(model.tensors[f"{op.name}.{k}"]) for k in ("weight", "bias")}
        made = op.columns(inputs[0]) @ t["weight"].flatten(1).T + t["bias"]
        added = model.tensors.get(f"{op.name}.pos")
        made = made if added is None else made + torch.from_numpy(added)
        assert made.shape == (2, op.product_rows(model.shapes[op.name]), len(t["weight"]))
        torch.testing.assert_close(op.products(out), made, rtol=1e-4, atol=1e-4)
        seen.append(op.name)

    with torch.no_grad():
        run_float(model, normalize(images(family, 2), model.input), observe=check)
    assert seen == [row.name for row in model.layers]


def test_other_weights_are_another_table():
    model = network("vit")
    name = next(op.name for op in model.ops if isinstance(op, Linear))
    wider = {**model.tensors, f"{name}.weight": np.zeros((7, 36), np.float32)}
    changed = type(model)(**{**{f: getattr(model, f) for f in model.__dataclass_fields__}, "tensors": wider})
    row = next(row for row in changed.layers if row.name == name)
    assert (row.out_features, row.params, changed.shapes[name][-1]) == (7, 7 * 36, 7)


def test_an_operator_without_a_rule_is_refused_by_name():
    class Nothing(Op):
        pass

    with pytest.raises(UnsupportedError, match=r"end \(Nothing\): there is no rule for the shape"):
        infer_shapes((Nothing("end", ("image",)),), network("vit").input, {})


def test_the_image_stays_at_eight_bits_in_plans():
    row = LayerPlan(name="stem", type="patch_embed", w_bits=16, a_bits=8, params=1)
    assert row.reads_image and not row.model_copy(update={"type": "qkv"}).reads_image
