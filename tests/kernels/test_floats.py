"""Float32 kernels of the baseline: right to float's precision, and near the fewest instructions that such a product takes."""

from __future__ import annotations

import numpy as np
import pytest
import tvm

from lampq_tvm.device.native import count_classes
from lampq_tvm.errors import DeviceError, OutputError
from lampq_tvm.kernels.floats import VECTORS, FloatShape, build_float_product, build_float_softmax, build_float_unary
from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.kernels.shapes import round_up
from tests.boards import BOARDS, ISAS, runs_here, target_of

SHAPES = (FloatShape(1, 29, 24, 40, shared=True), FloatShape(3, 5, 40, 18), FloatShape(1, 1, 10, 16, shared=True))


def run(isa, func, arrays, shape):
    """The output of a kernel, on this machine or on an emulated core."""
    if isa in BOARDS:
        try:
            return count_classes(func, arrays, target_of(isa)).outputs[0]
        except (DeviceError, OutputError) as e:
            pytest.skip(f"no emulated Arm board: {e}")
    if not runs_here(isa):
        pytest.skip(f"no {isa} here")
    module = tvm.IRModule({"main": func.with_attr("global_symbol", "main")})
    library = tvm.compile(module, target=tvm.target.Target(target_of(isa).tvm))["main"]
    out = tvm.runtime.tensor(np.full(shape, np.nan, np.float32))
    library(*map(tvm.runtime.tensor, arrays), out)
    return out.numpy()


def operands(shape, isa):
    """A, W as the kernel takes them, B, and the product, rounded once."""
    rng, width = np.random.default_rng(0), LEVELS[isa].lanes * VECTORS
    n, k = round_up(shape.n, width), round_up(shape.k, 4)
    a = rng.normal(size=(shape.count, shape.rows, k)).astype(np.float32)
    w = rng.normal(size=(1 if shape.shared else shape.count, n, k)).astype(np.float32)
    bias = rng.normal(size=n).astype(np.float32)
    packed = np.ascontiguousarray(w.reshape(len(w), n // width, width, k).transpose(0, 1, 3, 2))
    expected = np.einsum("imk,ink->imn", a.astype(np.float64), np.broadcast_to(w, (shape.count, n, k))) + bias
    return [a, packed, bias], expected


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_products(isa, shape):
    arrays, expected = operands(shape, isa)
    found = run(isa, build_float_product(shape, isa), arrays, expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("isa", ISAS)
def test_unary(isa):
    x = np.random.default_rng(1).normal(scale=4, size=(3, 21)).astype(np.float32)
    x[0, :3] = 0, 60, -60
    smooth = run(isa, build_float_unary("smooth", *x.shape, isa), [x], x.shape)
    np.testing.assert_allclose(smooth, x / (1 + np.exp(-1.702 * x.astype(np.float64))), rtol=2e-5, atol=1e-6)
    np.testing.assert_array_equal(run(isa, build_float_unary("relu", *x.shape, isa), [x], x.shape), np.maximum(x, 0))


@pytest.mark.parametrize("isa", ISAS)
def test_softmax(isa):
    x = np.random.default_rng(2).normal(scale=3, size=(4, 48)).astype(np.float32)
    found = run(isa, build_float_softmax(*x.shape, isa), [x], x.shape)
    weights = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    np.testing.assert_allclose(found, weights / weights.sum(1, keepdims=True), rtol=2e-5)


@pytest.mark.parametrize("isa", BOARDS)
def test_a_product_is_mostly_multiply_adds(isa):
    """Else the baseline would be slow, and a share of it easily met: four an instruction, a third more for all the rest."""
    shape = FloatShape(1, 64, 64, 256, shared=True)
    arrays, _ = operands(shape, isa)
    try:
        counted = count_classes(build_float_product(shape, isa), arrays, target_of(isa))
    except (DeviceError, OutputError) as e:
        pytest.skip(f"no emulated Arm board: {e}")
    assert counted.instructions < 1.35 * 64 * 64 * 256 / 4
