"""Every quantizer that there is: its codes, its values, its arrays, its candidates; and names that there are not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lampq_tvm.bitplan import BitPlan
from lampq_tvm.errors import CorruptError, UnsupportedError, UsageError
from lampq_tvm.quantizers.asymmetric import AsymmetricWeights
from lampq_tvm.quantizers.protocol import QUANTIZERS, Quantizer, find, names
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


@pytest.mark.parametrize(("name", "bits"), WIDTHS)
def test_the_first_candidate_takes_the_whole_range(name, bits):
    x, found = values_for(name), candidates_for(name, bits)[0]
    away, low, high = np.abs(found.values(found.encode(x)) - x), np.minimum(x.min(-1), 0), x.max(-1)
    if name == "log_sqrt2":
        assert away[x == high] < 0.002 * high
    elif "symmetric" in name or name == "uniform":
        steps = (
            (2**bits - 1) / (high - low)
            if name in ("uniform", "asymmetric")
            else (2 ** (bits - 1) - 1) / np.maximum(-low, high)
        )
        assert (away.max(-1) * steps <= 1.001).all()
    else:
        assert (away.max(-1) <= 2.0**-11 * np.maximum(-low, high)).all()


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
    assert names("probabilities") == ("log_sqrt2", "uniform")
    assert find("uniform", "activations") is Uniform
    with pytest.raises(UsageError, match="softmax: unknown quantizer of probabilities 'log2'; did you mean log_sqrt2"):
        find("log2", "probabilities", "softmax")
    with pytest.raises(UsageError, match="unknown quantizer of probabilities 'symmetric'"):
        find("symmetric", "probabilities")


def test_a_plan_with_an_unknown_softmax_is_refused(tmp_path):
    plan = {"model": "m", "softmax": "log_sqrt3", "layers": []}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(CorruptError, match=r"softmax.*unknown quantizer of probabilities 'log_sqrt3'; did you mean log_sqrt2"):
        BitPlan.load(tmp_path / "plan.json")
