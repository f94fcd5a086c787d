"""Tables and affine constants."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lampq_tvm.errors import UnsupportedError, UsageError
from lampq_tvm.network.model import ACTIVATIONS
from lampq_tvm.quantize import constants
from lampq_tvm.quantizers.log_sqrt2 import LogSqrt2
from lampq_tvm.quantizers.probabilities import probabilities, softmax_table
from lampq_tvm.quantizers.symmetric import SymmetricWeights
from lampq_tvm.quantizers.uniform import Uniform


def usual_table(kind, bits):
    return softmax_table(probabilities(kind, bits)[0])


@pytest.mark.parametrize("kind", ["uniform", "log_sqrt2"])
@pytest.mark.parametrize("bits", range(2, 9))
def test_softmax_tables(kind, bits):
    table = usual_table(kind, bits)
    assert table.shape == (256,) and table.dtype == np.uint8
    assert table[0] == 255 and table[255] == 0
    assert len(set(table.tolist())) <= 2**bits
    assert all(np.diff(table.astype(int)) <= 0)


def test_uniform_softmax_is_the_rounded_exponential():
    table = usual_table("uniform", 8)
    assert table.tolist() == [round(255 * math.exp(-6.4 * i / 255)) for i in range(256)]


def test_an_unknown_softmax_is_refused():
    with pytest.raises(UsageError, match="unknown quantizer of probabilities 'log_sqrt'; did you mean log_sqrt2"):
        usual_table("log_sqrt", 4)


@pytest.mark.parametrize(("largest", "words"), [(1.1, "from 0 to 1.1 at 4 bits"), (1e9, "from 0 to 0 at 4 bits")])
def test_probabilities_that_kernels_cannot_take_are_refused(monkeypatch, largest, words):
    """Beyond 1 they would wrap around in a byte; without any, rows would be divided by 0."""
    monkeypatch.setattr(LogSqrt2, "candidates", classmethod(lambda cls, low, high, bits: [cls(bits, largest)]))
    with pytest.raises(UnsupportedError, match=f"log_sqrt2 gives probabilities {words}"):
        usual_table("log_sqrt2", 4)


def test_log_sqrt2_values():
    assert sorted(set(usual_table("log_sqrt2", 3).tolist()), reverse=True) == [255, 180, 128, 90, 64, 45, 32, 0]


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation_tables(kind):
    x, y = Uniform(8, 0.05, -20), Uniform(4, 0.4, -6)
    table = constants.activation_table(kind, x, y)
    assert table.dtype == np.int8 and table.min() >= y.low and table.max() <= y.high
    for code in (-128, -60, -20, 0, 127):
        value = 0.05 * (code + 20)
        gate = {
            "gelu": 0.5 * (1 + math.erf(value / math.sqrt(2))),
            "gelu_tanh": 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * (value + 0.044715 * value**3))),
            "quick_gelu": 1 / (1 + math.exp(-1.702 * value)),
            "relu": float(value > 0),
            "silu": 1 / (1 + math.exp(-value)),
        }[kind]
        assert table[code + 128] == max(y.low, min(y.high, round(value * gate / 0.4 - 6)))


def test_weight_codes_of_either_sign_of_scale():
    w = np.array([[-1.0, 0.9, 0.25, 0.75]] * 2)
    assert SymmetricWeights(2, np.array([0.5, -0.5])).encode(w).tolist() == [[-2, 1, 0, 1], [1, -2, 0, -2]]


def test_output_affine_holds_the_zero_point():
    codes, x = np.array([[1, -2, 3]], np.int8), Uniform(4, 0.5, 3)
    S, B = constants.output_affine(codes, np.array([0.1]), np.array([7.0]), x)
    a = np.array([-8, 0, 5])
    assert np.allclose(S * (codes @ a) + B, 0.1 * codes @ (0.5 * (a - 3)) + 7)
