"""Products with every epilogue, at every pair of widths, against the integer oracle."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lampq_tvm.kernels.isa import dot_for, weight_peak
from lampq_tvm.kernels.shapes import EPILOGUES, ProductShape
from lampq_tvm.oracle import ops
from tests.examples import examples
from tests.kernels import data
from tests.kernels.products import Product, case_of, inputs, product_case

PAIRS = tuple(itertools.product(range(2, 9), repeat=2))
# Compiling is what takes time: a few examples of many kernels each, and no shrinking, since a failure names its kernel.
BATCHES = examples(3)
extents = st.one_of(st.sampled_from(data.EDGES), st.integers(1, 70))
widths = st.integers(2, 8)


@st.composite
def products(draw: st.DrawFn) -> Product:
    """Any product."""
    epilogue, rows = draw(st.sampled_from(EPILOGUES)), draw(extents)
    period = draw(st.sampled_from((1, 7, 16, 49))) if epilogue == "stream" else 0
    rows = period * draw(st.integers(1, 3)) if period else rows
    tiles = draw(st.none() | st.tuples(st.integers(1, 12), st.integers(1, 6), st.integers(1, 4), st.integers(1, 4)))
    shape = ProductShape(rows, draw(extents), draw(extents), epilogue, period)
    return Product(shape, draw(widths), draw(widths), draw(widths), tiles, draw(st.integers(0, 1 << 20)))


@BATCHES
@given(batch=st.lists(products(), min_size=12, max_size=12))
def test_any_product(machine, batch):
    machine.check(product_case(product, machine.isa) for product in batch)


@pytest.mark.parametrize("tiles", [None, (3, 2, 2, 3)], ids=["default tiles", "other tiles"])
def test_every_pair_of_widths(machine, tiles):
    """The sums themselves: float32 holds them exactly. Rows and channels of extreme codes meet each other."""
    cases = []
    for i, (w_bits, a_bits) in enumerate(PAIRS):
        product = Product(ProductShape(10, 21, 131, "float"), w_bits, a_bits, tiles=tiles, seed=i)
        a, w, _ = inputs(product)
        acc = ops.product_acc(a, w)
        assert np.abs(acc).max() == 131 * weight_peak(w_bits) << (a_bits - 1)
        constants = np.ones(21, np.float32), np.zeros(21, np.float32)
        cases.append(case_of(product, machine.isa, a, w, constants, acc.astype(np.float32)))
    machine.check(cases)


def test_edge_shapes(machine):
    """One row, one channel, one input, and every one of them one off a multiple of what the step takes.

    Each shape with two epilogues, so that each epilogue meets small, odd and whole shapes.
    """
    dot = dot_for(machine.isa, 4, 4)
    sizes = [(1, 1, 1), (1, dot.lanes + 1, dot.group + 1), (17, dot.lanes - 1, dot.group - 1), (16, 1, 2), (15, 2, 1)]
    sizes += [(197, 2 * dot.lanes, dot.group), (50, 7 * dot.lanes, 3), (65, 13, 2 * dot.group + 1)]
    cases = []
    for seed, (m, n, k) in enumerate(sizes):
        for epilogue in (EPILOGUES * 2)[seed % 5 : seed % 5 + 2]:
            shape = ProductShape(m, n, k, epilogue, m if epilogue == "stream" else 0)
            cases.append(product_case(Product(shape, 4, 4, 4, seed=seed), machine.isa))
    machine.check(cases)


def test_sums_of_few_bits_over_a_long_k(machine):
    """Sums in bytes go over into 16 bits, and those into 32 more than once: whole parts, one more step, and a rest."""
    sizes = [(1020, 4, 4), (2033, 4, 4), (3072, 4, 4), (4097, 3, 4)]
    sizes += [(510, 2, 6), (511, 2, 6), (1021, 2, 6), (2041, 2, 4), (8161, 2, 2)]
    machine.check(product_case(Product(ProductShape(5, 13, k, "float"), w, a, seed=k), machine.isa) for k, w, a in sizes)


def test_the_largest_sums(machine):
    """K as large as int32 allows, all codes lowest: shifted products leave int32 on the way and must come back."""
    k = (1 << 17) - 1
    shape = ProductShape(2, 2, k, "codes")
    a, w = np.full((2, k), -128, np.int8), np.full((2, k), -127, np.int8)
    a[1], w[1] = 127, 127
    M, B = np.full(2, 2.0**-24, np.float32), np.zeros(2, np.float32)
    acc = ops.product_acc(a, w)
    assert acc[0, 0] == k * 127 << 7
    expected = ops.requantize(acc, M, B, 8)
    case = case_of(Product(shape), machine.isa, a, w, (M, B, data.code_range(8)), expected)
    machine.check([case])
