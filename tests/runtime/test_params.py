"""From packed weights to what the kernels read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lampq_tvm.artifact import bits as stored
from lampq_tvm.artifact.bits import pack_bits, unpack_bits
from lampq_tvm.kernels.isa import dot_for
from lampq_tvm.runtime.params import kernel_params, lay_out, spread
from tests.boards import ISAS
from tests.examples import quick_examples
from tests.kernels.data import codes, pack, pack_pairs, packed

widths = st.integers(1, 8)


def slow_stream(values: np.ndarray, bits: int) -> bytes:
    """The stream by its definition: one big little-endian number."""
    total = sum((int(v) + (1 << (bits - 1))) << (i * bits) for i, v in enumerate(values.reshape(-1)))
    return total.to_bytes(-(-values.size * bits // 8), "little")


@quick_examples(100)
@given(bits=widths, count=st.integers(0, 100), seed=st.integers(0, 99))
def test_codes_are_stored_at_exactly_their_width(bits, count, seed):
    values = np.random.default_rng(seed).integers(-(1 << (bits - 1)), 1 << (bits - 1), count).astype(np.int8)
    stream = pack_bits(values, bits)
    assert stream.tobytes() == slow_stream(values, bits)
    assert (unpack_bits(stream, bits, values.shape) == values).all()


@pytest.mark.parametrize("bits", range(1, 9))
def test_chunks_join_without_a_seam(bits, monkeypatch):
    monkeypatch.setattr(stored, "CHUNK", 16)
    values = codes(np.random.default_rng(bits), 7, 13, max(bits, 2)).clip(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    stream = pack_bits(values, bits)
    assert stream.tobytes() == slow_stream(values, bits)
    assert (unpack_bits(stream, bits, values.shape) == values).all()


@quick_examples(100)
@given(
    n=st.integers(1, 40), k=st.integers(1, 140), w_bits=st.integers(2, 8), a_bits=st.integers(2, 8), isa=st.sampled_from(ISAS)
)
def test_layout_is_what_the_kernel_tests_use(n, k, w_bits, a_bits, isa):
    dot = dot_for(isa, w_bits, a_bits)
    w = codes(np.random.default_rng(n), n, k, w_bits)
    mine = packed(w, dot)
    padded = [mine.shape[0] * dot.lanes, mine.shape[1] * dot.group]
    assert (lay_out(w, padded, dot.lanes, dot.group, dot.layout) == mine).all()


def test_every_kind_of_recipe():
    w = codes(np.random.default_rng(0), 5, 9, 3)
    two = codes(np.random.default_rng(1), 5, 9, 2)
    payload = {"layer.w": pack_bits(w, 3), "two.w": pack_bits(two, 2), "layer.M": np.arange(5, dtype=np.float32)}
    weights = {"tensor": "layer.w", "bits": 3, "shape": [5, 9]}
    recipes = [
        {"from": "array", "tensor": "layer.M"},
        {"from": "array", "tensor": "layer.M", "shape": [1, 5], "dtype": "float64", "times": 3},
        {"from": "values", "values": [-4, 3], "dtype": "float32"},
        {"from": "weights", **weights, "padded": [8, 12], "lanes": 4, "group": 4},
        {"from": "correction", **weights, "shift": 128},
        {"from": "pairs", "tensor": "two.w", "bits": 2, "shape": [5, 9], "padded": [16, 10], "lanes": 16, "group": 2},
    ]
    array, tiled, values, laid_out, correction, places = kernel_params(recipes, payload)
    assert (array == payload["layer.M"]).all()
    assert tiled.dtype == np.float64 and tiled.shape == (3, 5) and (tiled == array).all()
    assert values.dtype == np.float32 and values.tolist() == [-4, 3]
    assert (laid_out == pack(w, 4, 4)).all()
    assert places.dtype == np.int8 and (places == pack_pairs(two, 16)).all()
    assert correction.dtype == np.int32 and correction.tolist() == [-128 * int(row.sum()) for row in w.astype(int)]


def test_score_bias_is_spread_and_padded():
    """Two groups of 2 x 2 tokens, two heads: entries stand where their index says, zeros in the padding."""
    table, at = np.array([[1, 2, 3], [10, 20, 30]], np.int32), np.array([[[0, 1], [2, 0]], [[1, 1], [0, 2]]], np.uint8)
    found = spread(table, at, [2, 2, 3, 4])
    assert found.dtype == np.int32 and found.shape == (2, 2, 3, 4)
    assert found[0, 1, :2, :2].tolist() == [[10, 20], [30, 10]] and found[1, 0, :2, :2].tolist() == [[2, 2], [1, 3]]
    assert not found[:, :, 2:].any() and not found[..., 2:].any()
    halved = spread(table.astype(np.float32) / 2, at, [2, 2, 3, 4])
    assert halved.dtype == np.float32 and np.array_equal(2 * halved, found)
    recipe = {"from": "bias", "tensor": "b", "at": "a", "pattern": "p", "padded": [2, 2, 3, 4]}
    stored = {"b": table, "a": at[::-1], "p": np.array([1, 0], np.uint8)}
    assert np.array_equal(next(kernel_params([recipe], stored)), found)


def test_a_narrow_array_is_widened_for_its_kernel():
    stored = {"r.index": np.array([[-1, 3], [200, 0]], np.int16)}
    recipe = {"from": "array", "tensor": "r.index", "shape": [4, 1], "dtype": "int32"}
    (found,) = kernel_params([recipe], stored)
    assert found.dtype == np.int32 and found.tolist() == [[-1], [3], [200], [0]]


def test_an_unknown_rule_is_named():
    with pytest.raises(ValueError, match="rule \\(spirals\\)"):
        list(kernel_params([{"from": "spirals"}], {}))
