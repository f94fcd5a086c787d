"""Products of two computed matrices against the integer oracle."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lampq_tvm.kernels.matmul import UNSIGNED, MatMulShape, build_matmul
from lampq_tvm.oracle import ops
from tests.examples import examples
from tests.kernels import data
from tests.kernels.machine import Case

SIZES = st.one_of(st.sampled_from(data.EDGES), st.integers(1, 70))
EXTREMES = [(-128, -128), (127, 127), (-128, 127), (127, -128)]


def matmul_case(shape: MatMulShape, isa: str, seed: int = 0, fill: tuple[int, int] | None = None) -> Case:
    """The case; filled with two codes, or random ones."""
    rng = np.random.default_rng(seed)
    a, b = data.codes(rng, shape.pairs * shape.rows, shape.depth, 8), data.codes(rng, *shape.right, 8)
    if fill is not None:
        a, b = np.full_like(a, fill[0]), np.full_like(b, fill[1])
    S = rng.uniform(1e-5, 1e-1, 1).astype(np.float32)
    left, right = a.reshape(shape.pairs, shape.rows, -1), b.reshape(shape.pairs, -1, shape.right[1])
    expected = ops.matmul(left, right.swapaxes(1, 2) if shape.transposed else right, shape.zero, S)
    build = functools.partial(build_matmul, shape, isa)
    return Case(f"{shape} {fill}", shape.key, build, (a, b, S), expected.reshape(len(a), shape.columns))


@st.composite
def shapes(draw: st.DrawFn) -> MatMulShape:
    """Any product."""
    sizes = [draw(SIZES) for _ in range(3)]
    return MatMulShape(draw(st.integers(1, 3)), *sizes, draw(st.booleans()), draw(st.sampled_from([0, UNSIGNED])))


@examples(2)
@given(batch=st.lists(shapes(), min_size=8, max_size=8), seed=st.integers(0, 1 << 20))
def test_any_product(machine, batch, seed):
    machine.check(matmul_case(shape, machine.isa, seed) for shape in batch)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("zero", [0, UNSIGNED])
def test_largest_sums(machine, transposed, zero):
    """Codes at both ends, over a depth of many tokens."""
    shape = MatMulShape(2, 3, 37, 1370, transposed, zero)
    machine.check(matmul_case(shape, machine.isa, fill=fill) for fill in EXTREMES)


def test_shapes_of_attention(machine):
    """Scores and values of heads, and the channels' own attention."""
    sizes = [(197, 197, 48, True, 0), (197, 48, 197, False, UNSIGNED), (16, 16, 784, True, 0), (32, 784, 32, False, UNSIGNED)]
    machine.check(matmul_case(MatMulShape(2, *size), machine.isa) for size in sizes)
