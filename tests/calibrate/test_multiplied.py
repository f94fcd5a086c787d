"""Products of two computed values: their quantizers, and which of them stay float."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lampq_tvm.api.compiling import stays_float
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.calibrate.multiplied import never_negative, operand_quantizer, operand_quantizers, operand_statistics
from lampq_tvm.calibrate.novelty import ENOUGH
from lampq_tvm.calibrate.observe import Observed
from lampq_tvm.network.macs import float_parts, integer_macs, total_macs
from lampq_tvm.network.model import MatMul
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.compare import differences
from lampq_tvm.quantize.operators.float_part import QFloatPart
from lampq_tvm.quantize.operators.matmul import QMatMul
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.runtime.runner import Runner
from tests.boards import runs_here, target_of
from tests.compiler.networks import artifact
from tests.parts.hybrids import calibrated, hybrid, pixels

ISA = next(isa for isa in ("vbmi", "vnni", "avx2", "dotprod", "neon") if runs_here(isa))
OP = MatMul("product", ("a", "b"), transposed=True)


def test_codes_of_both_signs_have_zero_in_the_middle():
    x = operand_quantizer(-3.0, 2.0, unsigned=False)
    assert x.zero == 0 and x.encode([-3.0, 0.0, 3.0]).tolist() == [-127, 0, 127]


def test_what_is_never_negative_has_all_codes_above_zero():
    x = operand_quantizer(0.0, 1.0, unsigned=True)
    assert x.zero == -128 and x.encode([0.0, 1.0]).tolist() == [-128, 127]
    assert operand_quantizer(0.0, 1.0, unsigned=False).zero == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_error_is_what_codes_lose(seed):
    """Worked out from the images and the steps, beside what rounding really does; the worst image counts."""
    rng = np.random.default_rng(seed)
    a, b = (torch.from_numpy(rng.standard_normal((4, 3, 9, 16)).astype(np.float32)) for _ in range(2))
    a[2] *= 0.01  # of the image that loses most
    found = operand_statistics(OP, (a, b), OP.run((a, b), {}))
    steps = [operand_quantizer(float(x.min()), float(x.max()), unsigned=False) for x in (a, b)]
    rounded = [torch.from_numpy(q.values(q.encode(x)).astype(np.float32)) for q, x in zip(steps, (a, b), strict=True)]
    wanted, got = OP.run((a, b), {}), OP.run(tuple(rounded), {})
    lost = ((got - wanted)[2].norm() / wanted[2].norm()).item()
    assert lost > 3 * ((got - wanted).norm() / wanted.norm()).item()
    predicted = float(np.array([q.scale**2 for q in steps]) @ found["errors/product"]) ** 0.5
    assert predicted == pytest.approx(lost, rel=0.2)


def normal(seed):
    return torch.randn((2, 1, 16, 32), generator=torch.Generator().manual_seed(seed))


def observed(pieces):
    """What `calibrate.observe` keeps of some pieces (left, right), of many images each."""
    seen = Observed(distinct={"images": np.arange(ENOUGH, dtype=np.uint64)})
    for pair in pieces:
        seen.add(operand_statistics(OP, pair, OP.run(pair, {})))
    return seen


class Network:
    """As much of a network as quantizers of operands ask for."""

    ops = (OP,)

    def op(self, name):
        return OP


def test_ranges_of_all_pieces_count_for_each():
    """A piece whose left operand is large leaves no codes for another one."""
    small = 0.01 * normal(0), normal(1)
    large = 200 * small[0], small[1]
    assert operand_quantizers(Network(), observed([small])).keys() == set(OP.operands)
    assert operand_quantizers(Network(), observed([large])).keys() == set(OP.operands)
    assert operand_quantizers(Network(), observed([small, large])) == {}


def test_an_operand_of_zeros_stays_float():
    assert operand_quantizers(Network(), observed([(torch.zeros(2, 1, 16, 32), normal(1))])) == {}


def test_few_images_leave_a_margin():
    seen = observed([(normal(0), normal(1))])
    plain = operand_quantizers(Network(), seen)
    seen.distinct["images"] = seen.distinct["images"][:2]
    wide = operand_quantizers(Network(), seen)
    assert all(wide[name].scale > 1.05 * plain[name].scale for name in OP.operands)


def test_only_what_cannot_fall_below_zero_is_unsigned():
    model = hybrid("TalkingHeads")
    scores, values = (op for op in model.ops if isinstance(op, MatMul))
    assert not never_negative(model, scores.inputs[0]) and never_negative(model, values.inputs[0])
    assert calibrated("TalkingHeads").preactivations[values.operands[0]].zero == -128


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


def test_sums_that_could_leave_int32_stay_float(monkeypatch):
    """Some 66,000 products of codes; the depth is said to be that."""
    calibration = calibrated("TalkingHeads")
    model = calibration.model
    first = next(op for op in model.ops if isinstance(op, MatMul))
    deep = dict(model.shapes) | {first.inputs[0]: (*model.shapes[first.inputs[0]][:-1], 140_000)}
    monkeypatch.setitem(vars(model), "shapes", deep)  # where it is kept once it was asked for
    assert isinstance(made(quantize(calibration, uniform_plan(model, 8, 8)), first.name), QFloatPart)


def test_where_attention_is_float16_products_stay_float():
    model = hybrid("ChannelAttention")
    qm = quantize(calibrated("ChannelAttention"), uniform_plan(model, 8, 8, attention_bits=16))
    products = [op.name for op in model.ops if isinstance(op, MatMul)]
    assert len(products) == 2 and all(isinstance(made(qm, name), QFloatPart) for name in products)
    runner = Runner(artifact(qm, target_of(ISA), 2), threads=1)
    assert list(differences(qm, pixels(3), runner.trace(pixels(3)))) == []
