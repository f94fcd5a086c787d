"""Every quantizer that there is: its codes, its values, its arrays, its candidates; and names that there are not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lampq_tvm.bitplan import BitPlan
from lampq_tvm.errors import CorruptError, UnsupportedError, UsageError
from lampq_tvm.quantizers.adalog import AdaLog
from lampq_tvm.quantizers.asymmetric import AsymmetricWeights
from lampq_tvm.quantizers.carried import carried
from lampq_tvm.quantizers.demax import DeMax
from lampq_tvm.quantizers.fitted import Fitted
from lampq_tvm.quantizers.probabilities import SHARES, softmax_table
from lampq_tvm.quantizers.protocol import QUANTIZERS, Quantizer, find, names
from lampq_tvm.quantizers.shift_uniform_log2 import ShiftUniformLog2
from lampq_tvm.quantizers.twin_log import TwinLogWeights, twin_levels
from lampq_tvm.quantizers.twin_uniform import SignedTwinUniform
from lampq_tvm.quantizers.uniform import Uniform

ROWS = np.random.default_rng(0).normal(0.3, 1, (5, 400)) * 10.0 ** np.arange(-2, 3)[:, None]


def values_for(name: str) -> np.ndarray:
    """Weights and operands [N, K], values of an activation, or probabilities."""
    roles = QUANTIZERS.find(name).roles
    return np.abs(ROWS[2]) / 10 if roles == {"probabilities"} else ROWS[2] if "activations" in roles else ROWS


def candidates_for(name: str, bits: int) -> list[Quantizer]:
    x = values_for(name)
    low, high = (x.min(-1), x.max(-1)) if x.ndim > 1 else (float(x.min()), float(x.max()))
    return QUANTIZERS.find(name).candidates(low, high, bits, (1.0, 0.7))


OURS = [name for name in QUANTIZERS if QUANTIZERS[name].__module__.startswith("lampq_tvm.")]
WIDTHS = [(name, bits) for name in OURS for bits in ((16,) if "float16" in name else (2, 4, 7))]


@pytest.mark.parametrize(("name", "bits"), WIDTHS)
def test_codes_are_of_their_width_and_stand_for_themselves(name, bits):
    x, found = values_for(name), candidates_for(name, bits)[0]
    codes = found.encode(x)
    assert codes.shape == x.shape and found.kind.bits == bits
    values = found.values(codes)
    assert values.dtype == np.float64 and np.array_equal(found.values(found.encode(values)), values)
    for row in values if x.ndim > 1 else [values]:
        assert len(np.unique(row)) <= 2**bits


def step_at_the_top(name: str, bits: int) -> float:
    """Largest share of the range that the first candidate may be wrong by at either end of it."""
    even = 1 / (2**bits - 1)
    return {
        "symmetric": 1 / (2 ** (bits - 1) - 1),
        "symmetric_heads": 1 / (2 ** (bits - 1) - 1),
        "float16": 2.0**-11,
        "float16_weights": 2.0**-11,
        "fitted": even + 0.01,
        "twin_log": 0.25,  # below its largest level comes half of it
    }.get(name, even if name in ("uniform", "asymmetric") else 0.01)


@pytest.mark.parametrize(("name", "bits"), WIDTHS)
def test_the_first_candidate_takes_the_whole_range(name, bits):
    x, found = values_for(name), candidates_for(name, bits)[0]
    low, high = np.minimum(x.min(-1), 0), x.max(-1)
    away = np.abs(found.values(found.encode(x)) - x)
    ends = np.maximum(away.min(-1, where=x == x.max(-1, keepdims=True), initial=np.inf), 0)
    assert (ends <= step_at_the_top(name, bits) * np.maximum(-low, high) * (1 + ("uniform" in name))).all()
    if found.kind.bits < 16 and "activations" not in QUANTIZERS.find(name).roles - {"probabilities"}:
        assert np.isfinite(away).all()


@pytest.mark.parametrize("name", [name for name in names("probabilities") if name in OURS])
@pytest.mark.parametrize("bits", range(2, 9))
def test_probabilities_have_2_to_the_bits_codes_and_one_that_is_zero(name, bits):
    """Whatever is chosen of them: published code of the logarithms keeps one value more than codes hold."""
    shares = np.concatenate([SHARES, [0.0, 1e-9]])
    for found in QUANTIZERS.find(name).candidates(0.0, 1.0, bits):
        offset = found.kind.low if found.encode(shares).dtype == np.int8 else 0
        codes = found.encode(shares).astype(int) - offset
        assert codes.min() >= 0 and codes.max() < 2**bits
        assert found.values(found.encode(np.zeros(1)))[0] == 0
        table = softmax_table(found)
        assert table[0] > 0 and table[-1] == 0 and len(np.unique(table)) <= 2**bits


@pytest.mark.parametrize("name", [name for name in names("activations") if name in OURS])
@given(data=st.data(), bits=st.integers(2, 8))
def test_any_activation_quantizer_on_any_values(name, bits, data):
    """Ranges of all kinds: constant, all zero, one outlier; codes fit, 0 is a value, and the error is bounded by the range."""
    kind = data.draw(st.sampled_from(["gelu", "normal", "constant", "zero", "outlier", "positive"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = 10.0 ** data.draw(st.integers(-3, 3)) * rng.normal(size=64)
    x = {
        "gelu": np.where(x > 0, x, 0.1 * x),
        "normal": x,
        "constant": np.full(64, x[0]),
        "zero": 0 * x,
        "outlier": np.append(x[:-1], 100 * np.abs(x).max()),
        "positive": np.abs(x),
    }[kind]
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    for found in QUANTIZERS.find(name).candidates(low, high, bits, (1.0, 0.5)):
        codes, travels = found.encode(x), carried(found)
        assert len(np.unique(found.values(codes))) <= 2**bits
        values = found.values(codes)
        assert np.isfinite(values).all() and travels.scale > 0
        assert found.values(found.encode(np.zeros(1)))[0] == 0
        beyond = (high - low) / (2**bits - 1) if name == "uniform" else max(-low, high)  # zero is a level, half a step away
        assert np.abs(values).max() <= 1.01 * (max(-low, high) + beyond) + 1e-6


def test_a_fitted_table_is_better_than_even_levels():
    x = np.sort(np.random.default_rng(0).standard_t(4, 4096))
    for bits in (2, 3, 4):
        fitted, even = (
            np.mean((q.values(q.encode(x)) - x) ** 2)
            for q in (Fitted.fit(x, np.ones(len(x)), bits), Uniform.of_range(-4, 4, bits))
        )
        assert fitted < 0.8 * even


def test_the_power_of_adalog_is_its_numerator():
    """By hand: base 2^(18/37), 255 levels, the last code 0."""
    found = AdaLog(3, 1.0, 18)
    assert found.decoder.table.tolist() == [255, 182, 130, 93, 66, 47, 34, 0]
    assert found.encode([1.0, 0.7, 0.26, 0.1, 0.0]).tolist() == [0, 1, 4, 7, 7]


def test_sulq_decodes_whole_powers_of_two():
    """By hand: eta 0.5, u from -log2(1.5) to 1 in 3 steps of 0.528, decoded as 2^-rne(u) - 0.5, at most 1."""
    found = ShiftUniformLog2(2, 1.0, 0.5)
    assert found.shares.tolist() == [1.0, 0.5, 0.5, 0.0]
    assert found.encode([1.0, 0.6, 0.0]).tolist() == [0, 1, 3]


def test_twin_uniform_shifts_its_coarser_range():
    """By hand: 4 bits, negative codes of one step, positive ones of four."""
    found = SignedTwinUniform(4, 0.02, 2)
    assert found.decoder.table.tolist() == [0, 4, 8, 12, 16, 20, 24, 28, -1, -2, -3, -4, -5, -6, -7, -8]
    assert found.encode([-0.17, -0.05, 0.0, 0.3, 9.0]).tolist() == [15, 9, 0, 4, 7]


def test_demax_keeps_the_largest_exactly():
    found = DeMax(3, 1.0, 0.3)
    assert found.encode([1.0, 0.66, 0.64, 0.1, 0.0]).tolist() == [7, 7, 6, 2, 0]
    assert found.values([7, 6, 2]).round(6).tolist() == [1.0, 0.298039, 0.098039]  # levels 255, 76 and 25


@pytest.mark.parametrize(("name", "bits"), WIDTHS)
def test_arrays_hold_all_of_it(name, bits):
    x, found = values_for(name), candidates_for(name, bits)[0]
    again = type(found).from_arrays(found.arrays())
    assert found.described["name"] == name and found.described.get("bits", 16) == bits
    assert np.array_equal(again.encode(x), found.encode(x)) and again.kind == found.kind
    assert np.array_equal(again.values(found.encode(x)), found.values(found.encode(x)))


@pytest.mark.parametrize("bits", range(2, 8))
def test_asymmetric_weights_fit_a_byte_without_their_zero_point(bits):
    shifted = np.linspace([-1.0, -3.0, 0.2], [3.0, -0.5, 7.0], 100).T
    found = AsymmetricWeights.candidates(shifted.min(1), shifted.max(1), bits)[0]
    kernel = found.encode(shifted).astype(int) - found.zero[:, None]
    assert kernel.min() >= -127 and kernel.max() <= 127
    assert np.allclose(found.scale[:, None] * kernel, found.values(found.encode(shifted)))
    assert (np.abs(found.values(found.encode(shifted)) - shifted) <= 0.501 * found.scale[:, None]).all()


def test_asymmetric_weights_have_no_8_bits():
    with pytest.raises(UnsupportedError, match="asymmetric weights of 8 bits do not fit a byte; use at most 7 bits"):
        AsymmetricWeights.of_range(np.zeros(1), np.ones(1), 8)


def test_names_are_those_of_a_role():
    assert {"log2", "log_sqrt2", "uniform"} <= {*names("probabilities")} and "fitted" not in names("probabilities")
    assert find("uniform", "activations") is Uniform
    with pytest.raises(UsageError, match="softmax: unknown quantizer of probabilities 'log_sqrt3'; did you mean log_sqrt2"):
        find("log_sqrt3", "probabilities", "softmax")
    with pytest.raises(UsageError, match="unknown quantizer of probabilities 'symmetric'"):
        find("symmetric", "probabilities")


def test_a_plan_with_an_unknown_softmax_is_refused(tmp_path):
    plan = {"model": "m", "softmax": "log_sqrt3", "layers": []}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(CorruptError, match=r"softmax.*unknown quantizer of probabilities 'log_sqrt3'; did you mean log_sqrt2"):
        BitPlan.load(tmp_path / "plan.json")


def test_twin_logarithms_by_hand():
    """3 bits, eta 0: 127 and its halves, four below zero and three above; with eta the fine ones fall together with zero."""
    assert twin_levels(3, 0.0).tolist() == [-127, -64, -32, -16, 0, 32, 64, 127]
    assert twin_levels(3, 1.0).tolist() == [-127, 0, 0, 0, 0, 0, 0, 127]
    found = TwinLogWeights(3, np.array([0.01, 0.1]), twin_levels(3, 0.0))
    weights = np.array([[1.27, 0.95, 0.96, -0.07], [-12.7, -2.3, -2.5, 1.5]])
    assert found.multiplied(found.encode(weights)).tolist() == [[127, 64, 127, 0], [-127, -16, -32, 0]]
    with pytest.raises(UnsupportedError, match="8 bits hold every whole number"):
        TwinLogWeights(8, np.ones(1), twin_levels(8, 0.0))
