"""Ties, clamping and the single rounding of a multiply-add, where each is easily done otherwise."""

from __future__ import annotations

import numpy as np

from lampq_tvm.kernels.elementwise import build_to_codes
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.oracle import ops
from tests.kernels import data
from tests.kernels.machine import Case
from tests.kernels.products import Product, case_of, inputs, product_case
from tests.kernels.test_tokens import case


def requantize_case(isa: str, acc: np.ndarray, m: float, b: float, out_bits: int, expected: np.ndarray) -> Case:
    """Codes of given sums (-128 .. 127), by a product with one input and one weight of 1."""
    shape = ProductShape(len(acc), 1, 1, "codes")
    constants = np.array([m], np.float32), np.array([b], np.float32), data.code_range(out_bits)
    product = Product(shape, out_bits=out_bits)
    found = case_of(product, isa, acc.astype(np.int8)[:, None], np.ones((1, 1), np.int8), constants, expected[:, None])
    return Case(f"m={m} b={b} bits={out_bits}", found.kernel, found.build, found.args, found.expected)


def test_ties_go_to_even(machine):
    """Python's round() goes to even, too."""
    acc, cases = np.arange(-128, 128), []
    for m, b in ((0.5, 0.0), (0.5, 1.0), (0.25, 0.25), (1.0, 0.5), (-0.5, 0.0), (0.125, -0.375)):
        for bits in (2, 5, 8):
            low, high = data.code_range(bits)
            exact = [min(max(round(float(x) * m + b), low), high) for x in acc]
            cases.append(requantize_case(machine.isa, acc, m, b, bits, np.array(exact, np.int8)))
    machine.check(cases)


def test_values_beyond_int32_clamp(machine):
    """x86's conversion makes INT_MIN of them, Arm's saturates: neither may show."""
    acc, cases = np.arange(-128, 128), []
    for m in (2.0**25, 1e9, 1e30, 3e38, -1e30):
        for bits in (2, 8):
            low, high = data.code_range(bits)
            expected = np.where(acc * m < 0, low, np.where(acc * m > 0, high, 0)).astype(np.int8)
            cases.append(requantize_case(machine.isa, acc, m, 0.0, bits, expected))
    for b in (2147483648.0, 4294967296.0, 1e38):
        for sign in (1, -1):
            expected = np.full(len(acc), 127 if sign > 0 else -128, np.int8)
            cases.append(requantize_case(machine.isa, acc, 1.0, sign * b, 8, expected))
    machine.check(cases)


def test_one_rounding_decides_these_codes(machine):
    """The data holds codes, floats and streams that come out otherwise when the product is rounded on its own."""
    cases = []
    for epilogue in ("codes", "table", "residual", "float", "stream"):
        shape = ProductShape(7, 390, 65, epilogue, 7 if epilogue == "stream" else 0)
        found = product_case(Product(shape, seed=1), machine.isa)
        a, w, rng = inputs(Product(shape, seed=1))
        acc = ops.product_acc(a, w)
        M, B = data.requantizer(rng, acc)
        twice = data.unfused(acc, M, B)
        if epilogue == "codes":
            assert (ops.saturate(twice, 8) != found.expected).sum() >= 5
        if epilogue == "float":
            assert (twice != found.expected).mean() > 0.05
        cases.append(found)
    machine.check(cases)


def test_one_rounding_of_floats_to_codes(machine):
    """x / s + z beside a tie: z and the tie are exact, so that only the product's own rounding can reach the tie."""
    rng = np.random.default_rng(0)
    affine = np.array([3.7, -5], np.float32)
    near = ((rng.integers(-100, 100, (64, 64)) + 0.5 + 5) / affine[0].astype(np.float64)).astype(np.float32)
    x = np.nextafter(near, rng.choice([-np.inf, np.inf], near.shape).astype(np.float32))
    x = np.where(rng.random(x.shape) < 0.5, x, near)
    expected = ops.to_codes(x, affine, 8)
    assert (ops.saturate(data.unfused(x, affine[0], affine[1]), 8) != expected).sum() >= 5
    machine.check([case("to_codes", build_to_codes, (x, affine, data.code_range(8)), expected, *x.shape, machine.isa)])
