"""Networks with float16 layers for GPUs, run by the executor on the PTX interpreter: close to the reference."""

from __future__ import annotations

import numpy as np
import pytest

from lampq_tvm.api.compiling import CLOSE, difference
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.compiler.cuda.build import build_cuda
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.model import QProduct, QRotary, QuantizedModel
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.targets import resolve_target
from tests.compiler.cuda.test_network import runner
from tests.compiler.networks import calibration, images, network


def half(family: str, step: int, attention: int, bits: int = 8) -> QuantizedModel:
    """Every `step`-th layer in float16, the others at `bits`."""
    model = network(family)
    names = [layer.name for layer in model.layers[:: abs(step)] if step > 0] or [layer.name for layer in model.layers[1::-step]]
    return quantize(calibration(family), uniform_plan(model, bits, bits, attention).with_floats(names))


def assert_close(qm: QuantizedModel, target: str, family: str = "vit") -> None:
    """Every stored value lies within the gate's tolerance of the reference's, and so do the logits."""
    pixels = images(family, 1)
    wanted = run_reference(qm, pixels, values=True)
    with runner(build_cuda(qm, resolve_target(target))) as gpu:
        found, logits = gpu.trace(pixels), gpu(pixels)
    assert difference(wanted[qm.output], logits, close=True) is None
    products = {op.name for op in qm.ops if isinstance(op, QProduct)}
    turned = {op.inputs[0]: op.name for op in qm.ops if isinstance(op, QRotary)}  # a product that is turned gives codes alone
    assert {turned.get(name, name) for name in products} <= set(found)
    for name, value in found.items():
        right = wanted[name].astype(np.float64)
        assert (value.shape, value.dtype) == (wanted[name].shape, wanted[name].dtype), name
        assert np.linalg.norm(value - right) <= CLOSE * np.linalg.norm(right), name


@pytest.mark.parametrize("target", ["jetson-agx-orin-64gb@jp6", "rtx-40", "h200"])
def test_all_of_a_vit_in_float16(target):
    assert_close(half("vit", 1, 16), target)


def test_a_block_in_float16_without_its_tensor_core_instruction():
    assert_close(half("one block", 1, 16), "jetson-agx-xavier", "one block")


@pytest.mark.parametrize(("step", "attention", "bits"), [(2, 8, 8), (-2, 8, 4), (2, 16, 6), (-2, 16, 8)])
def test_every_second_layer_in_float16(step, attention, bits):
    assert_close(half("vit", step, attention, bits), "jetson-agx-orin-64gb@jp6")


def test_float_attention_between_integer_layers():
    model = network("vit")
    qm = quantize(calibration("vit"), uniform_plan(model, 8, 8, 16))
    assert_close(qm, "h200")


FAMILIES = [("swin padded", 1, 8), ("swinv2", 2, 8), ("beit", -2, 8), ("eva02", 1, 16), ("siglip", 1, 16), ("siglip", 2, 8)]
FAMILIES += [("swin padded", 1, 16), ("swinv2", 1, 16), ("beit", 1, 16), ("swin", 1, 16), ("swin", -2, 16)]


@pytest.mark.parametrize(("family", "step", "attention"), FAMILIES)
def test_families_in_float16(family, step, attention):
    """Windows with padding and biased attention, on codes and in float16; heads turned or gated; a pooling head."""
    assert_close(half(family, step, attention), "jetson-agx-orin-64gb", family)


def test_large_batches_store_their_norms(monkeypatch):
    monkeypatch.setattr("lampq_tvm.lower.cuda.passes.norm_before.REPEATED", 0)
    assert_close(half("vit", 1, 16), "jetson-agx-orin-64gb@jp6")
