"""Cases of the product kernels with what the oracle says of them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from lampq_tvm.kernels.isa import dot_for, weight_peak
from lampq_tvm.kernels.product import build_product
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kernels.tiles import Tiles
from lampq_tvm.kernels.tunable import ProductKernel
from lampq_tvm.oracle import ops
from tests.kernels import data
from tests.kernels.machine import Case


@dataclass(frozen=True)
class Product:
    """A product to test; `tiles` are (rows, vectors, group, unroll), cut to what there is; None takes the default ones."""

    shape: ProductShape
    w_bits: int = 8
    a_bits: int = 8
    out_bits: int = 8
    tiles: tuple[int, int, int, int] | None = None
    seed: int = 0


def valid_tiles(product: Product, isa: str) -> Tiles | None:
    """The tiles that a product names, no larger than the product."""
    if product.tiles is None:
        return None
    rows, vectors, group, unroll = product.tiles
    kernel = ProductKernel(product.shape, isa, product.w_bits, product.a_bits)
    most = kernel.largest
    return data.cut(kernel, Tiles(min(rows, most.rows), min(vectors, most.vectors), min(group, most.group), unroll))


def inputs(product: Product) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Activations [M, K], weights [N, K] and the generator that goes on with the constants."""
    rng = np.random.default_rng(product.seed)
    shape = product.shape
    a = data.codes(rng, shape.rows, shape.k, product.a_bits)
    w = data.codes(rng, shape.n, shape.k, product.w_bits)
    return a, np.maximum(w, -weight_peak(product.w_bits)).astype(np.int8), rng


def product_case(product: Product, isa: str) -> Case:
    """The case, its constants by epilogue."""
    a, w, rng = inputs(product)
    acc = ops.product_acc(a, w)
    with np.errstate(over="ignore", invalid="ignore"):
        constants, expected = epilogue_case(product, acc, rng)
    return case_of(product, isa, a, w, constants, expected)


def case_of(
    product: Product, isa: str, a: np.ndarray, w: np.ndarray, constants: tuple[np.ndarray, ...], expected: np.ndarray
) -> Case:
    """A case from its arrays: packs the weights and adds the correction where the step shifts activations."""
    dot, tiles = dot_for(isa, product.w_bits, product.a_bits), valid_tiles(product, isa)
    build = functools.partial(build_product, product.shape, isa, product.w_bits, product.a_bits, tiles)
    correction = (-dot.shift * w.astype(np.int32).sum(1, dtype=np.int32),) if dot.shift else ()
    args = (a, data.packed(w, dot), *correction, *constants)
    over = 2 + len(correction) if product.shape.epilogue == "residual" else None
    return Case(str(product), f"{product.shape.key}_{dot.name}_{tiles}", build, args, expected, over)


def epilogue_case(product: Product, acc: np.ndarray, rng: np.random.Generator) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """The epilogue's constants, and what it makes of the sums."""
    shape = product.shape
    scale, b = data.requantizer(rng, acc)
    if shape.epilogue == "codes":
        return (scale, b, data.code_range(product.out_bits)), ops.requantize(acc, scale, b, product.out_bits)
    if shape.epilogue == "table":
        half = 1 << (product.out_bits - 1)
        table = rng.integers(-half, half, 256).astype(np.int8)
        return (scale, b, table), ops.apply_table(ops.requantize(acc, scale, b, 8), table)
    if shape.epilogue == "float":
        return (scale, b), ops.float_out(acc, scale, b)
    if shape.epilogue == "residual":
        stream = rng.normal(0, 3, acc.shape).astype(np.float32)
        return (stream, scale, b), ops.residual(stream, acc, scale, b)
    pos = rng.normal(0, 3, (shape.period, shape.n)).astype(np.float32)
    repeated = np.tile(pos, (shape.rows // shape.period, 1))
    return (scale, b, pos), repeated + ops.float_out(acc, scale, b)
