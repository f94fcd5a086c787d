"""Products of two computed values: their quantizers, and which of them stay float."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lampq_tvm.api.compiling import stays_float
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.calibrate.multiplied import MOST, operand_quantizer, operand_statistics
from lampq_tvm.network.macs import float_parts, integer_macs, total_macs
from lampq_tvm.network.model import MatMul
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.operators.float_part import QFloatPart
from lampq_tvm.quantize.operators.matmul import QMatMul
from lampq_tvm.quantize.reference import run_reference
from tests.parts.hybrids import calibrated, hybrid, pixels

OP = MatMul("product", ("a", "b"), transposed=True)


def test_codes_of_both_signs_have_zero_in_the_middle():
    x = operand_quantizer(-3.0, 2.0, unsigned=True)
    assert x.zero == 0 and x.encode([-3.0, 0.0, 3.0]).tolist() == [-127, 0, 127]


def test_what_is_never_negative_has_all_codes_above_zero():
    x = operand_quantizer(0.0, 1.0, unsigned=True)
    assert x.zero == -128 and x.encode([0.0, 1.0]).tolist() == [-128, 127]
    assert operand_quantizer(0.0, 1.0, unsigned=False).zero == 0


def test_zeros_alone_have_a_scale():
    assert operand_quantizer(0.0, 0.0, unsigned=False).scale > 0


@pytest.mark.parametrize(("outlier", "fits"), [(1.0, True), (1e4, False)])
def test_an_outlier_costs_what_is_seen(outlier, fits):
    """One value that is large, where nothing is in the other operand."""
    a, b = (torch.rand((2, 3, 9, 16), generator=torch.Generator().manual_seed(i)) + 0.5 for i in range(2))
    a[0, 0, 0, 0], b[..., 0] = outlier, 0.0
    found = operand_statistics(OP, (a, b), OP.run((a, b), {}))
    assert found["low/product.left"].shape == (1,)
    assert (found["high/product.error"].item() <= MOST) == fits


def made(qm, name):
    return next(op for op in qm.ops if op.name == name)


def without_codes():
    """A network of which one product lost too much."""
    calibration = calibrated("TalkingHeads")
    first = next(op for op in hybrid("TalkingHeads").ops if isinstance(op, MatMul))
    kept = {name: q for name, q in calibration.preactivations.items() if name not in first.operands}
    return first, dataclasses.replace(calibration, preactivations=kept)


def test_a_product_without_quantizers_stays_float():
    plan = uniform_plan(hybrid("TalkingHeads"), 8, 8)
    (first, other), whole = without_codes(), quantize(calibrated("TalkingHeads"), plan)
    qm = quantize(other, plan)
    assert isinstance(made(qm, first.name), QFloatPart) and isinstance(made(whole, first.name), QMatMul)
    ours, theirs = (run_reference(each, pixels(16, 0), values=True)[first.name] for each in (qm, whole))
    np.testing.assert_allclose(ours, theirs, atol=0.02 * np.abs(theirs).max())


def test_the_artifact_names_products_that_stay_float():
    model, (first, other) = hybrid("TalkingHeads"), without_codes()
    facts = stays_float(model, quantize(other, uniform_plan(model, 8, 8)))
    (row,) = (row for row in facts["parts"] if row["name"] == first.name)
    assert row == {"name": first.name, "operators": {"matmul": 1}, "macs": integer_macs(model)[first.name]}
    assert facts["macs"] == total_macs(model, float_parts(model))


def test_where_attention_is_float16_products_stay_float():
    model = hybrid("ChannelAttention")
    qm = quantize(calibrated("ChannelAttention"), uniform_plan(model, 8, 8, attention_bits=16))
    assert not any(isinstance(op, QMatMul) for op in qm.ops)
