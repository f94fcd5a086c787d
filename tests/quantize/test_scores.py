"""Bias and masks of attention scores in units of the integer sums."""

from __future__ import annotations

import time

import numpy as np

from lampq_tvm.quantize import scores
from lampq_tvm.quantize.constants import score_scale


def test_bias_is_rounded_once_and_clamped():
    unit = np.array([0.5, 1e-9])
    bias = np.array([[[[0.25, 0.75, -1.2]]] * 2], np.float32).reshape(1, 2, 1, 3)
    found = scores.score_bias(bias, unit)
    assert found.dtype == np.int32 and found[0, 0].tolist() == [[0, 2, -2]]
    assert found[0, 1].tolist() == [[250000000, 1 << 28, -(1 << 28)]]


def test_masks_of_every_kind():
    """Minus a hundred (Swin), minus infinity, the smallest float; a bias of thirty below the others is none."""
    lowest = np.finfo(np.float32).min
    bias = np.array([[[[0.5, -99.5, -np.inf, lowest, -30]]]], np.float32)
    assert scores.score_bias(bias, np.array([0.5]))[0, 0, 0].tolist() == [1, -(1 << 30), -(1 << 30), -(1 << 30), -60]


def test_exponents_of_two_for_float16_scores():
    """Nothing is rounded but to float32; masks are those of the integers, and all of it is finite."""
    lowest = np.finfo(np.float32).min
    bias = np.array([[[[0.5, -99.5, -np.inf, lowest, -30]]]], np.float32)
    found = scores.exponent_bias(bias)
    assert found.dtype == np.float32
    assert np.array_equal(found[0, 0, 0, [0, 4]], (np.array([0.5, -30]) * np.log2(np.e)).astype(np.float32))
    assert (found[0, 0, 0, 1:4] == -(2.0**30)).all()
    assert np.isfinite(scores.exponent_bias(np.array([[[[-np.inf, -np.inf], [np.inf, 1e38]]]], np.float32))).all()


def test_a_masked_score_gives_nothing_even_where_scores_are_all_but_zero():
    """The largest sums of 8-bit codes of 128 channels, heads whose scales are tiny: the index of a masked score is 255."""
    scales = scores.raised_scales(np.array([[1e-12, 1e-2], [1e-12, 1e-2], [0.1, 0.1]]), 0.125)
    S = score_scale(scales[0], scales[1], 0.125)
    sums = 128 * 128 * 128
    assert (((1 << 30) - 2 * sums - (1 << 28)) * S >= 255).all()
    assert np.array_equal(scales[:, 1], [1e-2, 1e-2, 0.1])  # an ordinary head keeps its scales
    assert (scales[0] * scales[1] * 0.125 * (1 << 28) > 64).all()  # and a bias of 64 nats fits


def test_equal_columns_are_stored_once():
    rng = np.random.default_rng(0)
    bias = rng.integers(-3, 3, (2, 1, 5, 5)).repeat(3, 1).astype(np.int32)
    table, at, pattern = scores.distinct(bias)
    assert table.shape == (3, len(np.unique(bias))) and at.dtype == np.uint8
    assert np.array_equal(table[:, at[pattern]].swapaxes(0, 1), bias)
    many = np.arange(400, dtype=np.int32).reshape(1, 1, 20, 20)
    assert scores.distinct(many)[1].dtype == np.uint16


def test_a_bias_of_one_large_window_takes_no_time():
    """BEiT's, 12 heads of 197 tokens: minutes where a row of all its entries is compared field by field."""
    table = np.random.default_rng(0).integers(-9999, 9999, (12, 732)).astype(np.int32)
    where = np.random.default_rng(1).integers(0, 732, (197, 197))
    start = time.perf_counter()
    found, at, pattern = scores.distinct(table[:, where][None])
    assert time.perf_counter() - start < 10 and found.shape == (12, 732) and pattern.tolist() == [0]
    assert np.array_equal(found[:, at[0]], table[:, where])


def test_equal_windows_are_stored_once_and_places_do_not_depend_on_values():
    """Windows of four kinds, as Swin's shifted ones; another layer's entries sort otherwise and have the same places."""
    kinds = np.arange(4 * 36, dtype=np.int32).reshape(4, 1, 6, 6) % 50
    bias = kinds[[0, 0, 1, 0, 2, 3, 2, 1]]
    table, at, pattern = scores.distinct(bias)
    assert at.shape == (4, 6, 6) and pattern.dtype == np.uint8 and pattern.tolist() == [0, 0, 1, 0, 2, 3, 2, 1]
    assert np.array_equal(table[:, at[pattern]].swapaxes(0, 1), bias)
    other, places, same = scores.distinct(-bias)
    assert np.array_equal(places, at) and np.array_equal(same, pattern) and np.array_equal(other, -table)
