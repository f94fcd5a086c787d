"""The oracle's operators against sums written out element by element, and their ties and ends."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from lampq_tvm.oracle import ops
from lampq_tvm.oracle.fma import fma32
from tests.oracle.test_fma import round_to_float32

f32 = np.float32


def fma(a, b, c) -> np.float32:
    return f32(round_to_float32(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))))


def norm_by_hand(x: np.ndarray, eps: float) -> list[np.float32]:
    """LayerNorm of one row, one scalar at a time."""
    C = len(x)
    inverse = f32(1) / f32(C)

    def strided(add) -> np.float32:
        lanes = [f32(0)] * 32
        for i in range(C):
            lanes[i % 32] = add(lanes[i % 32], i)
        for half in (16, 8, 4, 2, 1):
            lanes = [lanes[i] + lanes[i + half] for i in range(half)]
        return lanes[0]

    total = strided(lambda lane, i: lane + x[i])
    centred = [fma(-inverse, total, v) for v in x]
    squares = strided(lambda lane, i: fma(centred[i], centred[i], lane))
    r = f32(1) / np.sqrt(fma(squares, inverse, f32(eps)))
    return [c * r for c in centred]


@pytest.mark.parametrize("channels", [8, 32, 40, 96, 200])
def test_layer_norm_order(channels):
    rng = np.random.default_rng(channels)
    x = rng.normal(3, 50, (2, channels)).astype(f32)
    for row, found in zip(x, ops.normalized(x, 1e-6), strict=True):
        assert np.array_equal(found, np.array(norm_by_hand(row, 1e-6)))


def test_layer_norm_order_matters():
    """Another order of the sums gives other bits, so the test above can fail."""
    x = np.random.default_rng(0).normal(3, 50, (64, 96)).astype(f32)
    centred = fma32(-(f32(1) / f32(96)), x.sum(1, keepdims=True), x)
    assert not np.array_equal(
        centred * (f32(1) / np.sqrt((centred**2).mean(1, keepdims=True) + f32(1e-6))), ops.normalized(x, 1e-6)
    )


def test_ties_go_to_even_and_ends_saturate():
    acc = np.array([-7, -5, -3, -1, 1, 3, 5, 7, 2**30, -(2**30)], np.int32)
    codes = ops.requantize(acc, np.full(10, 0.5, f32), np.zeros(10, f32), 4)
    assert codes.tolist() == [-4, -2, -2, 0, 0, 2, 2, 4, 7, -8]
    wide = ops.requantize(np.array([2**31 - 1, -(2**31)], np.int32), np.full(2, 1e30, f32), np.zeros(2, f32), 8)
    assert wide.tolist() == [127, -128]


def test_requantization_is_fused():
    """acc * M alone rounds onto a tie that the exact sum misses."""
    M = f32(1 + 2.0**-23) / f32(2)
    assert ops.requantize(np.array([1], np.int32), np.array([M]), np.array([0], f32), 8).tolist() == [1]
    acc, M, B = np.array([4097], np.int32), np.array([f32(4097 * 2.0**-25)]), np.array([f32(2.0**-26)])
    assert ops.requantize(acc, M, B, 8)[0] == int(np.rint(float(Fraction(4097**2, 2**25) + Fraction(1, 2**26))))


def test_product_is_exact():
    rng = np.random.default_rng(1)
    a, w = rng.integers(-128, 128, (3, 5, 700), np.int8), rng.integers(-128, 128, (6, 700), np.int8)
    assert np.array_equal(ops.product_acc(a, w), (a.astype(np.int64)[..., None, :] * w).sum(-1))
    ends = ops.product_acc(np.full((1, 100000), -128, np.int8), np.full((1, 100000), -128, np.int8))
    assert ends.tolist() == [[128 * 128 * 100000]]


def attention_by_hand(qkv, S, P, M, B, heads, dim, bits, bias=None):
    """One image, one query and head at a time, in Python integers."""
    T = len(qkv)
    q, k, v = qkv.astype(int).reshape(T, 3, heads, dim).transpose(1, 2, 0, 3)
    out = np.zeros((T, heads * dim), np.int8)
    for h in range(heads):
        for t in range(T):
            scores = [int(q[h, t] @ k[h, u]) + (int(bias[h, t, u]) if bias is not None else 0) for u in range(T)]
            index = [min(255, int(np.rint(f32(max(scores) - s) * S[h]))) for s in scores]
            p = [int(P[i]) for i in index]
            for c in range(dim):
                n = h * dim + c
                acc = sum(p[u] * int(v[h, u, c]) for u in range(T))
                real = fma(f32(acc) * (f32(1) / f32(sum(p))), M[n], B[n])
                out[t, n] = np.clip(np.rint(real), -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    return out


@pytest.mark.parametrize("bits", [4, 8])
def test_attention(bits):
    rng = np.random.default_rng(bits)
    heads, dim, T = 2, 5, 6
    qkv = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), (2, T, 3 * heads * dim), np.int8)
    S, P = rng.uniform(0, 30 / 4**bits, heads).astype(f32), np.sort(rng.integers(0, 256, 256, np.uint8))[::-1].copy()
    P[0], P[255] = 255, 0
    M, B = rng.uniform(0.2, 0.9, heads * dim).astype(f32), rng.integers(-3, 4, heads * dim).astype(f32)
    found = ops.attention(qkv, S, P, M, B, heads, dim, 6)
    assert np.array_equal(found, [attention_by_hand(image, S, P, M, B, heads, dim, 6) for image in qkv])


def test_attention_with_a_bias_per_window():
    """Four windows and two biases in turn; masked keys count for nothing, whatever their scores are."""
    rng = np.random.default_rng(9)
    heads, dim, T = 2, 5, 6
    qkv = rng.integers(-128, 128, (4, T, 3 * heads * dim), np.int8)
    S, P = np.full(heads, 0.002, f32), np.sort(rng.integers(0, 256, 256, np.uint8))[::-1].copy()
    P[0], P[255] = 255, 0
    M, B = rng.uniform(0.2, 0.9, heads * dim).astype(f32), rng.integers(-3, 4, heads * dim).astype(f32)
    bias = rng.integers(-20000, 20000, (2, heads, T, T), np.int32)
    bias[1, :, :3, 3:] = bias[1, :, 3:, :3] = -(1 << 30)
    found = ops.attention(qkv, S, P, M, B, heads, dim, 8, bias)
    wanted = [attention_by_hand(image, S, P, M, B, heads, dim, 8, bias[i % 2]) for i, image in enumerate(qkv)]
    assert np.array_equal(found, wanted)
    half = ops.attention(qkv[1:2, :3], S, P, M, B, heads, dim, 8, bias[1:, :, :3, :3])
    assert np.array_equal(found[1:2, :3], half)
    assert not np.array_equal(found, ops.attention(qkv, S, P, M, B, heads, dim, 8))


def test_regrouped_tokens():
    """Two windows of two tokens, one of them empty, and merged tokens side by side."""
    x = np.arange(12, dtype=np.int8).reshape(2, 3, 2)
    windows = ops.regroup(x, np.array([[[2], [0]], [[-1], [1]]], np.int32), np.array([7], np.int8), 3)
    assert windows[0].tolist() == [[[4, 5], [0, 1]], [[7, 7], [2, 3]]] and windows[1, 0].tolist() == [[10, 11], [6, 7]]
    merged = ops.regroup(windows, np.array([[0, 3], [1, 1]], np.int32), np.array([0], np.int8), 4)
    assert merged[0].tolist() == [[4, 5, 2, 3], [0, 1, 0, 1]] and merged.shape == (2, 2, 4)


def test_heads_over_their_lengths():
    """A head of 3-4-0 has length 5; one of zeros is divided by the smallest length; v keeps its own."""
    qkv = np.array([[3, 4, 0, 0, 0, 0, 30, -40, 0]], f32)
    inv = np.array([[10], [10], [0.5]], f32)
    assert ops.unit_heads(qkv, inv, 1, 1e-12, 8).tolist() == [[6, 8, 0, 0, 0, 0, 15, -20, 0]]
    row = np.random.default_rng(0).normal(size=(1, 3 * 40)).astype(f32)
    lanes = [f32(0)] * 32
    for i, x in enumerate(row[0, :40]):
        lanes[i % 32] = fma(x, x, lanes[i % 32])
    for half in (16, 8, 4, 2, 1):
        lanes = [lanes[i] + lanes[i + half] for i in range(half)]
    inverse = f32(1) / np.sqrt(lanes[0])
    found = ops.unit_heads(row, np.full((3, 1), 127, f32), 1, 1e-12, 8)
    assert found[0, :40].tolist() == [int(np.rint(fma(x * inverse, f32(127), f32(0)))) for x in row[0, :40]]


def test_rotary_is_one_fused_step():
    rng = np.random.default_rng(1)
    qkv, cos, sin = (rng.normal(size=shape).astype(f32) for shape in ((1, 2, 12), (2, 4), (2, 4)))
    partner, inv = np.array([1, 0, 3, 2], np.int32), np.array([[20], [30], [40]], f32)
    found = ops.rotary(qkv, cos, sin, partner, inv, 8)
    for t in range(2):
        for c in range(12):
            x = qkv[0, t, c]
            if c < 8:
                x = fma(x, cos[t, c % 4], qkv[0, t, c // 4 * 4 + partner[c % 4]] * sin[t, c % 4])
            assert found[0, t, c] == np.clip(np.rint(fma(x, inv[c // 4, 0], f32(0))), -128, 127)


def test_constant_queries_are_attention():
    """The same as attention whose queries are those of every image."""
    rng = np.random.default_rng(2)
    qkv = rng.integers(-128, 128, (2, 6, 30), np.int8)
    qkv[:, :, :10] = qkv[0, 0, :10]
    S, P = np.array([0.002, 0.003], f32), np.sort(rng.integers(0, 256, 256, np.uint8))[::-1].copy()
    P[0], P[255] = 255, 0
    M, B = rng.uniform(0.2, 0.9, 10).astype(f32), rng.integers(-3, 4, 10).astype(f32)
    found = ops.attention_pool(qkv[:, :, 10:], qkv[0, 0, :10].reshape(2, 1, 5), S, P, M, B, 8)
    assert np.array_equal(found[:, 0], ops.attention(qkv, S, P, M, B, 2, 5, 8)[:, 0])


def test_gate_rounds_to_the_table():
    table = np.arange(-128, 128, dtype=f32)
    found = ops.gate(np.array([0.5, 1.5, -1e30, 1e30], f32), np.array([2, 2, 1, 0.5], f32), table)
    assert found.tolist() == [0, 4, -128, 63.5]


def test_patch_embed():
    rng = np.random.default_rng(3)
    codes, w = rng.integers(-128, 128, (2, 3, 8, 4), np.int8), rng.integers(-8, 8, (5, 12), np.int8)
    S, B = rng.uniform(0, 1, 5).astype(f32), rng.normal(size=5).astype(f32)
    pos, prefix = rng.normal(size=(8, 5)).astype(f32), rng.normal(size=(2, 5)).astype(f32)
    out = ops.patch_embed(codes, w, S, B, pos, prefix, 2)
    assert out.shape == (2, 10, 5)
    assert np.array_equal(out[:, :2], np.stack([prefix, prefix]))
    for t, (row, column) in enumerate((r, c) for r in range(4) for c in range(2)):
        tile = codes[1, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].astype(int).ravel()
        assert [pos[t, n] + fma(tile @ w[n].astype(int), S[n], B[n]) for n in range(5)] == out[1, 2 + t].tolist()


def test_mean_tokens_adds_in_order():
    x = np.array([[[1e8], [1.0], [1.0], [-1e8]]], f32)
    assert ops.mean_tokens(x, 0, np.array([0.25], f32)).tolist() == [[0.0]]
    assert ops.mean_tokens(x[:, ::-1], 1, np.array([1 / 3], f32)).tolist() == [[f32(1e8) * f32(1 / 3)]]


def test_pixels_survive_normalization():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(3, 1)
    x = (pixels / 255 - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
    assert np.array_equal(ops.pixels_from_float(x.astype(f32), mean, std), pixels)
    assert ops.pixels_from_float(np.full((1, 3, 1, 1), 99, f32), mean, std).tolist() == [[[[255]], [[255]], [[255]]]]
    assert ops.pixel_codes(pixels).min() == -128 and ops.pixel_codes(pixels).max() == 127


def test_table_floats_and_heads():
    table = np.arange(-128, 128, dtype=np.int8)[::-1].copy()
    assert ops.apply_table(np.array([-128, 0, 127], np.int8), table).tolist() == [127, -1, -128]
    assert ops.to_codes(np.array([0.25, -9, 9], f32), np.array([2, 1], f32), 3).tolist() == [2, -4, 3]
    assert ops.average_heads(np.array([1], f32), np.array([2], f32)).tolist() == [1.5]
    assert ops.residual(np.array([[1]], f32), np.array([[3]], np.int32), np.array([2], f32), np.array([1], f32)).tolist() == [
        [8]
    ]
