"""Layers that stay float16: the reference close to the oracle and to the float model, weights stored at 16 bits."""

from __future__ import annotations

import numpy as np
import pytest

from lampq_tvm.allocate.costs import payload_base
from lampq_tvm.api.compiling import CLOSE, difference
from lampq_tvm.bitplan import BitPlan, uniform_plan
from lampq_tvm.compiler.build import payload
from lampq_tvm.errors import CorruptError
from lampq_tvm.network.execute import normalize, run_float
from lampq_tvm.oracle.run import run_oracle
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.constants import UNARY
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.quantizers.half import HalfWeights
from tests.quantize.tiny import VARIANTS, tiny_calibration, tiny_images


def plans(model) -> dict[str, BitPlan]:
    """All in float16, and every second layer, with integer attention and with float attention."""
    names = [layer.name for layer in model.layers]
    return {
        "all": uniform_plan(model, 16, 16, 16),
        "even": uniform_plan(model, 8, 8, 8).with_floats(names[::2]),
        "odd": uniform_plan(model, 4, 6, 16).with_floats(names[1::2]),
    }


def away(found, wanted) -> float:
    """Root mean square of the difference, as a share of what is wanted."""
    return float(np.linalg.norm(found.astype(np.float64) - wanted) / max(np.linalg.norm(wanted.astype(np.float64)), 1e-9))


@pytest.mark.parametrize("variant", VARIANTS)
def test_reference_is_close_to_the_oracle(variant):
    """Both round values to float16 and codes at the same places; sums differ by float32's rounding before them.

    So a value now and then lies on the other side of a rounding: by one code of 4 to 8 bits or by 2^-11 of a float16 value.
    """
    calibration, pixels = tiny_calibration(variant), tiny_images(6, seed=9)
    for name, plan in plans(calibration.model).items():
        qm = quantize(calibration, plan)
        ours, torchs = run_oracle(qm, pixels), run_reference(qm, pixels, values=True)
        for value, found in torchs.items():
            assert found.dtype == ours[value].dtype and away(found, ours[value]) < CLOSE, (name, value)
        assert difference(ours[qm.output], torchs[qm.output], close=True) is None


@pytest.mark.parametrize("variant", ["token", "mean_then_norm", "windows", "cosine", "pool"])
def test_float16_loses_less_than_a_tenth_of_8_bits(variant):
    calibration, pixels = tiny_calibration(variant), tiny_images(24)
    exact = run_float(calibration.model, normalize(pixels, calibration.model.input)).detach().numpy()
    networks = [quantize(calibration, uniform_plan(calibration.model, bits, bits, bits)) for bits in (8, 16)]
    lost = [away(run_reference(qm, pixels), exact) for qm in networks]
    assert lost[1] < lost[0] / 10 and lost[1] < 0.005


@pytest.mark.parametrize("kind", UNARY)
def test_activations_of_float_layers(kind):
    """Before a float layer values are float16 of the function itself, before codes those of the function's float32 value."""
    calibration = tiny_calibration(act=kind)
    for floats in (["blocks.0.fc1", "blocks.0.fc2"], ["blocks.0.fc1"], ["blocks.0.fc2"]):
        qm = quantize(calibration, uniform_plan(calibration.model, 8, 8).with_floats(floats))
        ours, torchs = run_oracle(qm, tiny_images(4)), run_reference(qm, tiny_images(4), values=True)
        found, wanted = torchs["blocks.0.act"], ours["blocks.0.act"]
        assert found.dtype == (np.float16 if "blocks.0.fc2" in floats else np.int8)
        assert away(found, wanted) < 1e-3


def test_half_weights_keep_what_float16_can():
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1, (40, 50)) * 10.0 ** rng.integers(-9, 9, (40, 1))
    weight[3] = 0
    found = HalfWeights.of_rows(weight)
    codes, scale = found.encode(weight), found.scale
    assert np.abs(codes).max() <= 1 and (np.log2(scale) % 1 == 0).all()
    bound = np.maximum(2.0**-11 * np.abs(weight), 2.0**-25 * scale[:, None])
    assert (np.abs(codes * scale[:, None] - weight) <= bound).all()


def test_weights_take_two_bytes_and_averages_count_16():
    calibration = tiny_calibration()
    model = calibration.model
    sizes = {bits: len(payload(quantize(calibration, uniform_plan(model, bits, bits)))) for bits in (8, 16)}
    params = sum(layer.params for layer in model.layers)
    assert params - 600 < sizes[16] - sizes[8] < params + 600  # names and types of arrays, tables of two blocks
    plan = uniform_plan(model, 16, 16)
    assert plan.avg_w_bits == plan.avg_a_bits == 16 and plan.floats == tuple(row.name for row in plan.layers)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"w_bits": 9}, "9 bits are not supported: give 2 to 8, or 16"),
        ({"w_bits": 16}, "w_bits and a_bits are both 16 or neither is"),
        ({"a_bits": 16}, "w_bits and a_bits are both 16 or neither is"),
        ({"w_bits": 15, "a_bits": 15}, "15 bits are not supported"),
    ],
)
def test_a_plan_edited_by_hand(tmp_path, change, words):
    plan = uniform_plan(tiny_calibration().model, 8, 8)
    rows = list(plan.layers)
    rows[1] = rows[1].model_copy(update=change)
    plan.model_copy(update={"layers": tuple(rows)}).save(tmp_path / "plan.json")
    with pytest.raises(CorruptError, match=words):
        BitPlan.load(tmp_path / "plan.json")


def test_the_gate_sees_what_is_not_close():
    rng = np.random.default_rng(0)
    wanted = rng.normal(5, 1, (2, 1000)).astype(np.float32)
    assert difference(wanted, wanted + np.float32(1e-3), close=True) is None
    one = wanted.copy()
    one[1, 7] += np.float32(1e-6)
    assert "1 of 2000" in difference(wanted, one, close=False)
    assert "away from the reference" in difference(wanted, wanted * np.float32(1.01), close=True)


def test_the_payload_is_as_large_as_the_plan_says():
    """Constants and tables beside float layers are counted, but for names and types of the arrays."""
    calibration = tiny_calibration()
    for name, plan in plans(calibration.model).items():
        arrays = quantize(calibration, plan).tensors
        stored = sum(array.nbytes for key, array in arrays.items() if not key.endswith(".w"))
        assert stored == payload_base(calibration.model, plan.floats), name
